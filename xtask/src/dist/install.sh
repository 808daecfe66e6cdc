#!/bin/sh
# Installs deployer: fetches the archive of a release, checks its sum, and puts program, completions and manual in place.
#
#   DEPLOYER_VERSION     another version than that of this script
#   DEPLOYER_REPOSITORY  OWNER/NAME on GitHub, or the whole address of a folder with the archives (https://, file://)
#   DEPLOYER_PREFIX      where to; default: ~/.local
#   DEPLOYER_TARGET      another archive than that for this machine
set -eu

version="${DEPLOYER_VERSION:-@VERSION@}"
repository="${DEPLOYER_REPOSITORY:-@REPOSITORY@}"
prefix="${DEPLOYER_PREFIX:-$HOME/.local}"
target="${DEPLOYER_TARGET:-}"

fail() {
  echo "error: $1" >&2
  exit 1
}

if [ -z "$target" ]; then
  case "$(uname -s) $(uname -m)" in
    "Linux x86_64") target="x86_64-unknown-linux-musl" ;;
    "Linux aarch64") target="aarch64-unknown-linux-musl" ;;
    *) fail "there is no archive for $(uname -s) on $(uname -m): build it with cargo" ;;
  esac
fi
[ -n "$repository" ] || fail "say where from: DEPLOYER_REPOSITORY=OWNER/NAME"
case "$repository" in
  *://*) base="$repository" ;;
  *) base="https://github.com/$repository/releases/download/v$version" ;;
esac

case "$base" in
  file://*)
    fetch() { cp "${1#file://}" "$2"; } ;;
  *)
    if command -v curl >/dev/null 2>&1; then
      fetch() { curl --fail --silent --show-error --location --output "$2" "$1"; }
    elif command -v wget >/dev/null 2>&1; then
      fetch() { wget -q -O "$2" "$1"; }
    else
      fail "neither curl nor wget is there"
    fi ;;
esac

name="deployer-$version-$target"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
fetch "$base/$name.tar.gz" "$folder/$name.tar.gz" || fail "cannot get $base/$name.tar.gz"
fetch "$base/SHA256SUMS" "$folder/SHA256SUMS" || fail "cannot get $base/SHA256SUMS"
(
  cd "$folder"
  grep "  $name.tar.gz\$" SHA256SUMS >sum || fail "SHA256SUMS does not name $name.tar.gz"
  sha256sum -c sum >/dev/null 2>&1 || fail "$name.tar.gz is not what was released"
  tar -xzf "$name.tar.gz"
)
mkdir -p "$prefix/bin" "$prefix/share/man/man1" "$prefix/share/bash-completion/completions"
mkdir -p "$prefix/share/zsh/site-functions" "$prefix/share/fish/vendor_completions.d"
cp "$folder/$name/man/"*.1 "$prefix/share/man/man1/"
cp "$folder/$name/completions/deployer.bash" "$prefix/share/bash-completion/completions/deployer"
cp "$folder/$name/completions/_deployer" "$prefix/share/zsh/site-functions/_deployer"
cp "$folder/$name/completions/deployer.fish" "$prefix/share/fish/vendor_completions.d/deployer.fish"
# Replaced in one step: one that runs goes on with what it has.
cp "$folder/$name/deployer" "$prefix/bin/.deployer.new"
chmod 755 "$prefix/bin/.deployer.new"
mv "$prefix/bin/.deployer.new" "$prefix/bin/deployer"
echo "$("$prefix/bin/deployer" --version) is in $prefix/bin"
case ":$PATH:" in
  *":$prefix/bin:"*) ;;
  *) echo "note: $prefix/bin is not in your PATH" ;;
esac
