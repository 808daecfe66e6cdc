#!/usr/bin/env bash
# Runs one command of deployer and says how it ended.
#
# Takes COMMAND, CHOSEN (the environment), FORMAT (json, markdown), FAIL, and what GitHub sets: GITHUB_OUTPUT, RUNNER_TEMP.
# Not -e: a command that fails is told by its code, below.
set -uo pipefail

if [ -n "$CHOSEN" ]; then export DEPLOYER_ENV="$CHOSEN"; fi
# Words are parted at spaces; nothing in them is expanded.
read -r -d '' -a words <<<"$COMMAND" || true
outcome=""
changed=""
case "$FORMAT" in
  json)
    output="$(mktemp "$RUNNER_TEMP/deployer-XXXXXX.json")"
    # In front: behind a `--` it would be a word of somebody else's command.
    deployer --json "${words[@]}" >"$output"
    code=$?
    # Lines end with the result; a document is one value.
    outcome="$(tail -n 1 "$output" | jq -r '.outcome? // empty' 2>/dev/null || true)"
    changed="$(jq -r 'if has("empty") then (.empty | not) else empty end' "$output" 2>/dev/null | head -n 1 || true)"
    # What happened, for whoever reads the job's log: the whole of it is JSON, in the file.
    jq -r '
      (.plan?.changes[]? | select(.action != "no_op") | "\(.action)  \(.address)"),
      (select(.event? == "failed") | "failed  \(.error.message)"),
      (select(.event? == "release") | "serves  \(.cloud): r\(.number) of \(.service)")
    ' "$output" 2>/dev/null || true
    ;;
  markdown)
    output="$(mktemp "$RUNNER_TEMP/deployer-XXXXXX.md")"
    deployer "${words[@]}" --format markdown >"$output"
    code=$?
    case " ${words[*]} " in
      *" --detailed-exitcode "*) case "$code" in 0 | 6) changed=false ;; 2) changed=true ;; esac ;;
    esac
    cat "$output"
    ;;
  *)
    echo "::error::format is json or markdown, not \`$FORMAT\`"
    exit 64
    ;;
esac
{
  echo "exit-code=$code"
  echo "outcome=$outcome"
  echo "changed=$changed"
  echo "output=$output"
} >>"$GITHUB_OUTPUT"
echo "deployer $COMMAND ended with $code${outcome:+ ($outcome)}"
if [ "$FAIL" = true ]; then exit "$code"; fi
