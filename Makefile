# `make help` lists what can be made. Everything made lands in dist/ and .tools/, which are never committed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

COLLECTOR := dist/otelcol-vendorfailure
# What the Collector is compiled from, besides the modules in go.mod.
SOURCES := $(shell find processor receiver internal -name '*.go' ! -name '*_test.go' 2>/dev/null)
# Every module with code of its own; tools/ only pins tools.
MODULES := . $(filter-out tools,$(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -maxdepth 3 -name go.mod ! -path './dist/*' ! -path './.tools/*')))
GOFILES = $(shell find . -name '*.go' ! -path './dist/*' ! -path './.tools/*')
# How long make fuzz runs each target.
FUZZTIME ?= 60s
BENCH := cd bench && go run . $(BENCHFLAGS)

.PHONY: help demo drill run build test faults sizing fuzz soak lint vuln generate check-generate bench bench-collector bench-memory dashboards-schema dashboards-cost clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-17s %s\n", $$1, $$2}' Makefile

demo: $(COLLECTOR) ## replay the recorded incident into a Collector and tell whether its figures are true
	@go run ./cmd/demo

drill: $(COLLECTOR) .tools/prometheus .tools/alertmanager ## make an alert happen and see how long each hop takes (DRILLFLAGS='-collector ...' for your own)
	@go run ./cmd/drill $(DRILLFLAGS)

run: $(COLLECTOR) ## start a Collector for JWT Pizza
	@echo "Put these into the config.js of jwt-pizza-service:"
	@echo "  logs,   Loki push: http://localhost:$${LOKI_PORT:-3500}/loki/api/v1/push"
	@echo "  traces, OTLP/HTTP: http://localhost:$${OTLP_HTTP_PORT:-4318}/v1/traces"
	@echo "A test order is placed each minute at $${PIZZA_URL:-http://localhost:3000} by the user PROBE_EMAIL with PROBE_PASSWORD."
	@echo "The derived metrics are at http://localhost:$${METRICS_PORT:-8888}/metrics. Ctrl-C stops."
	@GOMEMLIMIT=$${GOMEMLIMIT:-440MiB} exec $(COLLECTOR) --config examples/jwt-pizza.yaml

build: $(COLLECTOR) ## build the Collector, dist/otelcol-vendorfailure, if anything it is made of changed
	@echo "$(COLLECTOR) is up to date"

$(COLLECTOR): dist/go.mod $(SOURCES)
	@echo "compiling $@: minutes the first time, seconds afterwards"
	@CGO_ENABLED=0 go build -C dist -trimpath -ldflags='-s -w' -o $(@F) .

dist/go.mod: builder-config.yaml go.mod go.sum .tools/builder
	@echo "generating the Collector's sources from builder-config.yaml"
	@.tools/builder --config builder-config.yaml --skip-compilation

.tools/%: tools/go.mod tools/go.sum
	@echo "compiling $@"
	@go build -C tools -o ../.tools/ $$(go list -C tools -f '{{.ImportPath}}' tool | grep '/$*$$')

# Far too much to share a go.mod with anything. A changed version takes effect after make clean.
.tools/prometheus .tools/promtool &:
	@echo "compiling Prometheus and promtool: minutes the first time"
	@GOBIN=$(CURDIR)/.tools go install -tags netgo,remove_all_sd github.com/prometheus/prometheus/cmd/{prometheus,promtool}@v0.316.0

.tools/alertmanager:
	@echo "compiling $@: a minute the first time"
	@GOBIN=$(CURDIR)/.tools go install github.com/prometheus/alertmanager/cmd/alertmanager@v0.31.1

# go test does not notice what changed outside a module: rules, documents and the Collector, which other modules test too.
uncached = $$([ $(1) = . ] || echo -count=1 -timeout 45m)
test: $(COLLECTOR) .tools/prometheus .tools/promtool .tools/alertmanager ## run all tests with the race detector, against the built Collector too
	@for module in $(MODULES); do echo "testing $$module"; go test -C $$module -race $(call uncached,$$module) ./...; done
	@echo "testing a million names, without the race detector"; go test -run TestEndlessNames ./processor/vendorfailureprocessor
	@echo "how long alerts took, hop by hop:"; cat dist/alert-delays.txt

faults: $(COLLECTOR) ## stop, reload, kill, refuse and overload the built Collector at full length: some ten minutes
	@go test -C faults -race -count=1 -v -timeout 60m . -args -rounds 500 -overload 2m

sizing: $(COLLECTOR) ## measure what an order costs an agent and a gateway of examples/scale-out
	@go test -C faults -run '^$$' -bench Sizing -benchtime 3x .

fuzz: ## fuzz all that parses, each target for FUZZTIME (60s); an input that fails is kept in testdata/fuzz, as a seed
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u | while read -r folder; do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p' $$folder/*_test.go); do \
	    echo "fuzzing $$target in $$folder for $(FUZZTIME)"; \
	    go test -C $$folder -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x .; done; done

soak: $(COLLECTOR) ## half an hour of mixed traffic and faults: does anything grow? (SOAKFLAGS='-duration 8h -rate 500')
	@go run ./cmd/soak $(SOAKFLAGS)

lint: .tools/staticcheck check-generate ## gofmt, go vet, staticcheck, and whether generated files are up to date
	@unformatted=$$(gofmt -l $(GOFILES)); [[ -z $$unformatted ]] || { echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; }
	@for module in $(MODULES); do echo "checking $$module"; (cd $$module && go vet ./... && $(CURDIR)/.tools/staticcheck ./...); done

# Not part of .ci/run: it asks the vulnerability database, https://vuln.go.dev, or one that VULNFLAGS=-db=URL names.
vuln: $(COLLECTOR) .tools/govulncheck ## look for known vulnerabilities in what is called of the dependencies, the Collector's own too
	@for module in $(MODULES) dist; do echo "checking $$module"; .tools/govulncheck -C $$module $(VULNFLAGS) ./...; done

generate: ## write what mdatagen generates from metadata.yaml, and the dashboards
	@for module in $(MODULES); do go generate -C $$module ./...; done

# Compares with what was there before, not with git, so that it also holds while generated files are not committed yet.
GENERATED = find . \( -name 'generated_*.go' -o -name documentation.md -o -path './grafana/dashboards/*.json' \) ! -path './dist/*' ! -path './.tools/*' -exec cksum {} + | sort -k 3
check-generate:
	@mkdir -p dist; $(GENERATED) >dist/generated.before; for module in $(MODULES); do go generate -C $$module ./...; done; $(GENERATED) >dist/generated.after
	@diff dist/generated.before dist/generated.after || { echo "generated files were out of date; make generate has to be committed with what it comes from"; exit 1; }

bench: ## set the processor beside its peers
	@$(BENCH)

bench-collector: $(COLLECTOR) ## set the built Collector with the processor beside the same without
	@$(BENCH) -collector

bench-memory: $(COLLECTOR) ## ten minutes of spans into the built Collector, as fast as it takes them: how much memory has it?
	@$(BENCH) -flat 10m

dashboards-schema: ## hold the dashboards against Grafana's own types and query grammars; needs Node.js and npm
	@mkdir -p dist/schema && cp grafana/schema/* dist/schema/
	@cd dist/schema && npm install --no-package-lock --silent && node check.mjs ../../grafana/dashboards

dashboards-cost: .tools/prometheus ## how long each panel's query takes on a day of 20 vendors and 20 callers; fails over 200 ms: some minutes
	@cd grafana && go run ./cost $(COSTFLAGS)

clean: ## remove everything that was made
	rm -rf dist .tools
