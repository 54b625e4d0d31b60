#!/usr/bin/env bash
# fetch_debian.sh FOLDER: unpacks there what only the tests of the kernels need, from Debian 13. It installs nothing and
# needs no root: apt works on lists of its own. The mirror is one that this machine's apt has, or DEBIAN_MIRROR.
set -euo pipefail
release=trixie
keys=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "error: $*" >&2
    exit 1
}

configured_mirrors() {
    apt-get --print-uris update | sed -n "/security/d; s|^'\(.*\)/dists/.*/InRelease'.*|\1|p" | sort -u
}

private_apt() {
    apt-get -o Dir::Etc::SourceList="$PWD/apt/debian.sources" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$PWD/apt/lists" -o Dir::Cache="$PWD/apt/cache" \
        -o APT::Sandbox::User= -o Acquire::Retries=3 -q "$@"
}

serves_release() {
    cat >apt/debian.sources <<END
Types: deb
URIs: $1
Suites: $release
Components: main
Architectures: amd64
Signed-By: $keys
END
    private_apt -o APT::Update::Error-Mode=any update
}

for program in apt-get dpkg-deb; do
    command -v $program >/dev/null || fail "there is no $program: this takes Debian or a relative of it, on x86-64"
done
[[ -e $keys ]] || fail "there is no $keys: install debian-archive-keyring"
mirrors=${DEBIAN_MIRROR:-$(configured_mirrors)}

mkdir -p "$1"/apt/{lists,cache/archives}/partial
cd "$1"
found=
for mirror in $mirrors; do
    if serves_release "$mirror"; then
        found=$mirror
        break
    fi
done
[[ $found ]] || fail "Debian's $release is at no mirror of this machine (${mirrors:-it has none}); name one: DEBIAN_MIRROR=URL"

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
