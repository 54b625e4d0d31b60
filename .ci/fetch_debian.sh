#!/usr/bin/env bash
# fetch_debian.sh FOLDER: unpacks there what only the tests of the kernels need, from Debian 13. It installs nothing and
# needs no root: apt works on lists of its own. The mirror is the one that this machine's apt has, or DEBIAN_MIRROR.
set -euo pipefail
release=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "error: $*" >&2
    exit 1
}

for program in apt-get dpkg-deb; do
    command -v $program >/dev/null || fail "there is no $program: this takes Debian or a relative of it, on x86-64"
done
[[ -e $keys ]] || fail "there is no $keys: install debian-archive-keyring"
# shellcheck disable=SC2016
configured=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1) || true
mirror=${DEBIAN_MIRROR:-$configured}
[[ $mirror ]] || fail "apt has no mirror; name one of Debian's: DEBIAN_MIRROR=URL"

mkdir -p "$1"/apt/{lists,cache/archives}/partial
cd "$1"
cat >apt/debian.sources <<END
Types: deb
URIs: $mirror
Suites: $release
Components: main
Architectures: amd64
Signed-By: $keys
END

private_apt() {
    apt-get -o Dir::Etc::SourceList="$PWD/apt/debian.sources" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$PWD/apt/lists" -o Dir::Cache="$PWD/apt/cache" \
        -o APT::Sandbox::User= -o Acquire::Retries=3 -q "$@"
}

private_apt -o APT::Update::Error-Mode=any update ||
    fail "$mirror does not serve Debian's $release; name a mirror that does: DEBIAN_MIRROR=URL"

# Another kind of machine and its C library, what clang's sanitizers are linked with, and ONNX Runtime's own header.
while read -r package paths; do
    private_apt download "$package" || fail "Debian's $release has no $package"
    dpkg-deb --fsys-tarfile "$package"_*.deb | tar --extract --wildcards "./$paths"
    rm "$package"_*.deb
done <<'END'
qemu-user usr/bin/qemu-aarch64
libc6-arm64-cross usr/aarch64-linux-gnu
libclang-rt-22-dev usr/lib/llvm-22/lib/clang/22/lib/linux/libclang_rt.[at]san-x86_64.a
libonnxruntime-dev usr/include/onnxruntime
END
rm -r apt
