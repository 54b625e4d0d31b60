#!/usr/bin/env bash
# fetch_debian.sh FOLDER: unpacks there what only some of the tests need, from three releases of Debian. It installs
# nothing and needs no root: apt works on lists of its own. The mirror is one that this machine's apt has, or
# DEBIAN_MIRROR.
set -euo pipefail
keys=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
    echo "error: $*" >&2
    exit 1
}

configured_mirrors() {
    apt-get --print-uris update | sed -n "/security/d; s|^'\(.*\)/dists/.*/InRelease'.*|\1|p" | sort -u
}

private_apt() {
    apt-get -o Dir::Etc::SourceList="$apt/debian.sources" -o Dir::Etc::SourceParts=- -o Dir::State::status=/dev/null \
        -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" \
        -o APT::Sandbox::User= -o Acquire::Retries=3 -q "$@"
}

serves_release() {
    cat >"$apt/debian.sources" <<END
Types: deb
URIs: $1
Suites: $release
Components: main
Architectures: $architecture
Signed-By: $keys
END
    private_apt -o APT::Update::Error-Mode=any update
}

find_mirror() {
    local mirror
    for mirror in $mirrors; do
        if serves_release "$mirror"; then
            return
        fi
    done
    fail "Debian's $release is at no mirror of this machine (${mirrors:-it has none}); name one: DEBIAN_MIRROR=URL"
}

# fetch RELEASE ARCHITECTURE FOLDER: of each package that a line of the input names, the paths that it names.
fetch() {
    release=$1 architecture=$2 apt=$PWD/apt
    mkdir -p "$3" "$apt"/{lists,cache/archives}/partial
    find_mirror
    mapfile -t lines
    (
        cd "$3"
        private_apt download "${lines[@]%% *}" || fail "Debian's $release lacks one of ${lines[*]%% *}"
        for line in "${lines[@]}"; do
            dpkg-deb --fsys-tarfile "${line%% *}"_*.deb | tar --extract --wildcards "./${line#* }"
            rm "${line%% *}"_*.deb
        done
    )
    rm -r "$apt"
}

for program in apt-get dpkg-deb; do
    command -v $program >/dev/null || fail "there is no $program: this takes Debian or a relative of it, on x86-64"
done
[[ -e $keys ]] || fail "there is no $keys: install debian-archive-keyring"
mirrors=${DEBIAN_MIRROR:-$(configured_mirrors)}

mkdir -p "$1"
cd "$1"

# Another kind of machine and its C library, what clang's sanitizers are linked with, and ONNX Runtime's own header.
fetch trixie amd64 . <<'END'
qemu-user usr/bin/qemu-aarch64
libc6-arm64-cross usr/aarch64-linux-gnu
libclang-rt-22-dev usr/lib/llvm-22/lib/clang/22/lib/linux/libclang_rt.[at]san-x86_64.a
libonnxruntime-dev usr/include/onnxruntime
END

# The system of a board with JetPack 5 in what counts here: glibc 2.31; its Python is one version newer.
fetch bullseye arm64 bullseye-arm64 <<'END'
libc6 *
libgcc-s1 *
libstdc++6 *
libcrypt1 *
zlib1g *
libexpat1 *
libssl1.1 *
libffi7 *
libbz2-1.0 *
liblzma5 *
libuuid1 *
libmpdec3 *
libpython3.9-minimal *
libpython3.9-stdlib *
python3.9-minimal *
END

# A server to deploy to, which the C library of Debian 12 and of all that is newer can run, and what it is linked with.
fetch bookworm amd64 bookworm <<'END'
openssh-server usr/sbin/sshd
openssh-sftp-server usr/lib/openssh/sftp-server
libnss-wrapper usr/lib/*
libwrap0 usr/lib/*
libnsl2 usr/lib/*
libtirpc3 *
libaudit1 lib/*
libcap-ng0 lib/*
libpam0g lib/*
libsystemd0 *
libselinux1 lib/*
libpcre2-8-0 usr/lib/*
libcrypt1 lib/*
libssl3 usr/lib/*
libgssapi-krb5-2 usr/lib/*
libkrb5-3 usr/lib/*
libk5crypto3 usr/lib/*
libkrb5support0 usr/lib/*
libcom-err2 lib/*
libkeyutils1 lib/*
libcap2 lib/*
libgcrypt20 usr/lib/*
libgpg-error0 lib/*
liblzma5 lib/*
libzstd1 usr/lib/*
liblz4-1 usr/lib/*
zlib1g lib/*
END
