# Every verb does its own set-up: the first one makes .venv, the others start at once.
# Arguments: make demo ARGS="--port 7432". What each does, and how: run.py.

PYTHON ?= python3
VERBS := demo test quick slow bench coverage lint format types docs lock setup compile clean help

.DEFAULT_GOAL := help
.PHONY: $(VERBS)

$(VERBS):
	@$(PYTHON) run.py $@ $(ARGS)
