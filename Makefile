# What there is to do here. The work is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help run cluster test check soak fuzz bench build fmt

help: ## print this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build everything and serve it; make run ARGS="--listen localhost:9000"
	@exec scripts/run.sh $(ARGS)

cluster: ## the same as three nodes on a RabbitMQ behind a proxy, until ctrl-c
	@exec scripts/cluster.sh $(ARGS)

test: ## run everything that must pass, real clients included
	@exec scripts/test.sh

check: ## run the quick part of it: format, lints, the dashboard's tests
	@exec scripts/test.sh quick

soak: ## run the proofs that take minutes
	@exec scripts/soak.sh

fuzz: ## try the parsers with what nobody would send, ten minutes each
	@exec scripts/fuzz.sh

bench: ## measure codec, quoting, index and hub beside their limits
	@exec scripts/bench.sh

build: ## build the program as it is shipped, the dashboard in it
	@exec scripts/build.sh

fmt: ## format the Rust code
	@cargo fmt --all
