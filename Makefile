# Two commands do everything on a fresh machine with Rust, git and internet: `make demo` and `make test`.
SHELL := /bin/bash
# Build trees of other checkouts may be shared by setting CARGO_TARGET_DIR.
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)

# What `make demo` builds. Tests that have built the whole workspace say so, since cargo chooses other features for one package.
DEMO_SCOPE ?= --package agent-runner

.PHONY: help demo test bench lint release release-runner release-suite images setup generate

help: ## Show this
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## Do a whole task on a local repository with a scripted agent: no network, no API key
	@cargo build --quiet $(DEMO_SCOPE)
	@$(TARGET)/debug/agent-runner demo

setup: ## Install what the tests need: npm agents, and as root Debian's git servers and containers
	@tests/setup

test: setup ## Set up, build, and run every test; says what was skipped
	@tests/run

bench: release-runner ## Measure against the peers, paired in one run
	@tests/bench

lint: ## Formatting, clippy, docs without warnings, generated files
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --no-deps --quiet
	@if command -v cargo-deny >/dev/null; then cargo deny check; else echo "SKIPPED: cargo deny (cargo install cargo-deny)"; fi

release: release-runner release-suite ## Build the static, stripped binaries of runner and suite, and print their sizes

# One package at a time: for both at once cargo chooses more features, and the runner would grow.
release-runner:
	@built=$$(runner/link/static) && $(told)

# The suite puts itself into images in the agent's place, and in one without glibc only a static program runs.
release-suite:
	@built=$$(runner/link/static release agent-conformance) && $(told)

# The size of a binary, and how it is linked.
told = echo "$$built: $$(stat -c %s "$$built") bytes, $$(file -b "$$built" 2>/dev/null | grep -o 'stati[a-z-]* linked' || echo 'file(1) is not here to say how it is linked')"

images: ## Build the images with podman (ENGINE=docker: with docker), on stand-ins where no registry serves their bases
	@images/build

generate: ## Write the generated files anew: JSON Schemas, the table of variables, help texts
	UPDATE_GENERATED=1 cargo test --quiet --package agent-tests --test generated
	cargo build --quiet --package agent-refimpl
	UPDATE_GENERATED=1 cargo test --quiet --package agent-conformance --test selftest matrix
	UPDATE_GENERATED=1 cargo test --quiet --package agent-conformance --test reports schema
