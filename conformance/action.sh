#!/usr/bin/env bash
# What the GitHub action does: runs agent-conformance, shows its report, annotates, fills the job's summary. Ends with its exit code.
# It reads INPUT_*, and writes to the files in GITHUB_OUTPUT and GITHUB_STEP_SUMMARY.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)

program=${INPUT_PROGRAM:-}
if [ -z "$program" ]; then
  root=${RUNNER_TEMP:-/tmp}/agent-conformance
  target=$(rustc -vV | sed -n 's/^host: //p')
  # Static, since the suite puts itself into the image in place of the agent.
  RUSTFLAGS="-C target-feature=+crt-static" \
    cargo install --quiet --locked --path "$here" --bin agent-conformance --target "$target" --root "$root" || exit 3
  program=$root/bin/agent-conformance
fi

report=${INPUT_REPORT:-agent-conformance-report}
arguments=(--certificate "$report/certificate.json")
for format in text=report.txt json=report.json junit=report.xml html=report.html markdown=report.md tap=report.tap github=annotations.txt; do
  arguments+=(--report "${format%%=*}=$report/${format#*=}")
done
[ -n "${INPUT_PROFILE:-}" ] && arguments+=(--profile "$INPUT_PROFILE")
[ -n "${INPUT_ONLY:-}" ] && arguments+=(--only "$INPUT_ONLY")
[ "${INPUT_STRICT:-}" = true ] && arguments+=(--strict)
[ -n "${INPUT_ENGINE:-}" ] && arguments+=(--engine "$INPUT_ENGINE")
[ -n "${INPUT_BASELINE:-}" ] && arguments+=(--baseline "$INPUT_BASELINE")

# Reports of an earlier step would pass for this one's.
rm -f "$report"/report.* "$report/annotations.txt" "$report/certificate.json"

# The reports hold no workflow command but ours. This is for what is said to stderr by whatever else runs: no line of it is a command.
token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$token"
"$program" check "${arguments[@]}" -- "${INPUT_IMAGE:?}" 2>&1
code=$?
echo "::$token::"

[ -f "$report/annotations.txt" ] && cat "$report/annotations.txt"
[ -f "$report/report.md" ] && [ -n "${GITHUB_STEP_SUMMARY:-}" ] && cat "$report/report.md" >>"$GITHUB_STEP_SUMMARY"
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  # A directory's name with a line feed would add an output.
  printf 'exit-code=%s\nreport=%s\n' "$code" "${report//$'\n'/}" >>"$GITHUB_OUTPUT"
fi
exit "$code"
