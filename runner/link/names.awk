# Names of functions without what differs from build to build: the crates' hashes, the places in the name that point back into it, and what is
# put behind the name of one that was private to its part of a crate.
#   awk -f names.awk             prints the names that it reads so
#   awk -f names.awk -v list=F   prints, in the order of the list F of such names, those of the names that it reads which are meant; those of
#                                the C library, which is in no library of Rust's, are called the same everywhere
function plain(name) {
  sub(/\.llvm\.[0-9]+$/, "", name)
  gsub(/Cs[0-9A-Za-z]+_/, "C-", name)
  gsub(/B[0-9A-Za-z]*_/, "B-", name)
  return name
}
list == "" { print plain($1); next }
{
  key = plain($1)
  if (key in known) known[key] = known[key] "\n" $1
  else known[key] = $1
}
END {
  if (list == "") exit
  while ((getline name <list) > 0) {
    if (name !~ /^_R/) { print name; continue }
    ++all
    if (name in known) { ++found; print known[name] }
  }
  printf "%d of %d functions of %s are in this build\n", found, all, list >"/dev/stderr"
}
