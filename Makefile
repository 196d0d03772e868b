# Everything a person or a machine does here, by name. The work is in scripts/.
.DEFAULT_GOAL := help
.PHONY: help demo demo-stop test soak bench bench-micro fmt lint prepare api-document fuzz clients

help: ## Show this list
	@sed -n 's/^\([a-z-]*\): .*## \(.*\)/  make \1 \2/p' $(MAKEFILE_LIST) | awk '{ printf "  make %-12s", $$2; $$1 = $$2 = ""; print }'

demo: ## Events in, signed webhooks out, live, on servers of its own; KEEP=1 leaves it running, BROKER=kafka … chooses
	@KEEP=$(KEEP) BROKER=$(BROKER) scripts/demo

demo-stop: ## End what `make demo KEEP=1` left running
	@scripts/demo stop

test: ## Everything: format, lints, documentation, unit, property and integration tests, faults
	@scripts/test

soak: ## The faults with their real lengths, then SOAK_HOURS=24 of steady load; writes docs/reliability.md
	@scripts/soak

bench: ## End-to-end figures as JSON, durable settings; BROKER=kafka … and SCENARIOS=backlog … choose
	@BROKER=$(BROKER) scripts/bench $(SCENARIOS)

bench-micro: ## What single steps cost: filter, sign, decode, batch insert
	@scripts/bench micro

fmt: ## Format the code
	@cargo fmt --all

lint: ## Format check and lints, without servers
	@scripts/lint

api-document: ## Write docs/openapi.json anew, after a change of the public API
	@SQLX_OFFLINE=true cargo run -q -p longshore --bin longshore -- api document > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json

fuzz: ## Ask every operation of the public API with whatever its document allows, and more; FUZZ_SEED=… chooses
	@scripts/fuzz-api

clients: ## Generated Python, JavaScript and Go clients walk every operation of the v1 contract
	@scripts/clients

prepare: ## Write the metadata of checked queries anew, after a change of SQL or schema
	@scripts/prepare
