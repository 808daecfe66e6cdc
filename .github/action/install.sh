#!/usr/bin/env bash
# Installs a release of deployer for the later steps of a job.
#
# Takes DEPLOYER_VERSION and REPOSITORY, and what GitHub sets: GITHUB_ACTION_PATH, GITHUB_PATH, RUNNER_TEMP.
set -euo pipefail

# `github.action_repository` is empty in steps of a composite action (actions/runner#2473); where the action lies says the same:
# `.../_actions/OWNER/NAME/REF`. In its own repository (`uses: ./`) it lies elsewhere.
if [ -z "$REPOSITORY" ]; then
  case "$GITHUB_ACTION_PATH" in
    */_actions/*) REPOSITORY="$(printf '%s' "${GITHUB_ACTION_PATH#*/_actions/}" | cut -d / -f 1,2)" ;;
    *) REPOSITORY="$GITHUB_REPOSITORY" ;;
  esac
fi
export DEPLOYER_REPOSITORY="$REPOSITORY" DEPLOYER_PREFIX="$RUNNER_TEMP/deployer"
sh "$GITHUB_ACTION_PATH/xtask/src/dist/install.sh"
echo "$DEPLOYER_PREFIX/bin" >>"$GITHUB_PATH"
