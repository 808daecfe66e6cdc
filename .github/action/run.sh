#!/usr/bin/env bash
# Runs one command of deployer and says how it ended.
#
# Takes COMMAND, CHOSEN (the environment), FAIL, and what GitHub sets: GITHUB_OUTPUT, RUNNER_TEMP.
# Not -e: a command that fails is told by its code, below.
set -uo pipefail

if [ -n "$CHOSEN" ]; then export DEPLOYER_ENV="$CHOSEN"; fi
output="$(mktemp "$RUNNER_TEMP/deployer-XXXXXX.json")"
# Words are parted at spaces; nothing in them is expanded.
read -r -d '' -a words <<<"$COMMAND" || true
deployer "${words[@]}" --json >"$output"
code=$?
# Lines end with the result; a document is one value.
last="$(tail -n 1 "$output" | jq -r '.outcome? // empty' 2>/dev/null || true)"
changed="$(jq -r 'if has("empty") then (.empty | not) else empty end' "$output" 2>/dev/null | head -n 1 || true)"
{
  echo "exit-code=$code"
  echo "outcome=$last"
  echo "changed=$changed"
  echo "output=$output"
} >>"$GITHUB_OUTPUT"
# What happened, for whoever reads the job's log: the whole of it is JSON, in the file.
jq -r '
  (.plan?.changes[]? | select(.action != "no_op") | "\(.action)  \(.address)"),
  (select(.event? == "failed") | "failed  \(.error.message)"),
  (select(.event? == "release") | "serves  \(.cloud): r\(.number) of \(.service)")
' "$output" 2>/dev/null || true
echo "deployer $COMMAND ended with $code${last:+ ($last)}"
if [ "$FAIL" = true ]; then exit "$code"; fi
