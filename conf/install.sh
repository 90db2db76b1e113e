#!/usr/bin/env bash
# Installs what Vitrine's make targets need, and nothing that is there already. Run it as often as you like.
#
#   conf/install.sh passthrough|build|demo|test|proof|fuzz|deb [more groups]
#   conf/install.sh --list           # what each group needs and whether this machine has it; installs nothing
#
# Each need is a check and the Debian/Ubuntu package that satisfies it. A check that passes is believed, wherever the
# tool came from (Node.js from another source, a Chromium of your own). sudo is used only for apt-get, only when
# something is missing, and only when you are not root. Rust itself comes from rustup and is never installed here.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:$HOME/.cargo/bin

has() { command -v "$1" >/dev/null; }
has_chromium() { has chromium || has chromium-browser || has google-chrome || [[ -x ${CHROMIUM:-} ]]; }
has_element() { gst-inspect-1.0 --exists "$1" 2>/dev/null; }
has_font() { [[ -n $(fc-match -f '%{file}' sans 2>/dev/null) ]]; }
has_server() { has "$1" || [[ -x /usr/sbin/$1 ]]; } # a user's PATH may lack sbin
has_nginx_rtmp() { [[ -e /usr/lib/nginx/modules/ngx_rtmp_module.so ]]; }
has_certificates() { [[ -s /etc/ssl/certs/ca-certificates.crt ]]; }
has_library() { pkg-config --exists "$1" 2>/dev/null; }
any() { # of these files is there
    local file
    for file; do [[ ! -e $file ]] || return 0; done
    return 1
}
has_libclang() { # where bindgen looks for it, and the headers that go with it
    [[ -n ${LIBCLANG_PATH:-} ]] ||
        { any /usr/lib*/{,llvm-*/lib/,*/}libclang{,-[0-9]*}.so* && any /usr/lib*/{,llvm-*/lib/}clang/*/include/stddef.h; }
}

# check | package
passthrough='
has cc                  | build-essential
has make                | make
has_certificates        | ca-certificates'

build="$passthrough
has pkg-config          | pkg-config
has_libclang            | libclang-dev
has_library libavcodec  | libavcodec-dev
has_library libavformat | libavformat-dev
has_library libavutil   | libavutil-dev
has_library libswscale  | libswscale-dev
has_library libswresample | libswresample-dev"

demo="$build
has ffmpeg              | ffmpeg
has_font                | fonts-dejavu-core fontconfig
has node                | nodejs
has npm                 | npm"

test="$demo
has ffprobe             | ffmpeg
has openssl             | openssl
has_chromium            | chromium
has gst-launch-1.0      | gstreamer1.0-tools
has_element videotestsrc | gstreamer1.0-plugins-base
has_element flvmux      | gstreamer1.0-plugins-good
has_element rtmp2sink   | gstreamer1.0-plugins-bad
has_element x264enc     | gstreamer1.0-plugins-ugly
has_element avenc_aac   | gstreamer1.0-libav
has_server nginx        | nginx-light
has_server varnishd     | varnish
has promtool            | prometheus
has systemd-analyze     | systemd"

proof="$test
has_nginx_rtmp          | libnginx-mod-rtmp
has valgrind            | valgrind"

deb=$build

fuzz="$build
has c++                 | build-essential"

say() { printf 'install: %s\n' "$*"; }
die() { printf 'install: %s\n' "$@" >&2; exit 1; }

needs() { # the lines of the named groups, each once
    local group
    for group; do
        case $group in
            passthrough | build | demo | test | proof | fuzz | deb) printf '%s\n' "${!group}" ;;
            *) die "no group called '$group'; the groups are passthrough, build, demo, test, proof, fuzz and deb" ;;
        esac
    done | awk 'NF && !seen[$0]++'
}

check_rust() {
    local wanted have
    has cargo || die "Rust is missing. Install it with rustup, https://rustup.rs, then run this again." \
        "(Debian's own rustc is too old for edition 2024.)"
    wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml | head -1)
    have=$(cargo --version | awk '{print $2}')
    [[ $(printf '%s\n' "$wanted" "$have" | sort -V | head -1) == "$wanted" ]] ||
        die "Rust $have is too old: Vitrine needs $wanted or newer. 'rustup update stable' brings it."
}

install_packages() {
    local sudo=()
    has apt-get || die "this system has no apt-get. Install the equivalents of these Debian packages, then run this again:" "  $*"
    if ((EUID)); then
        has sudo || die "not root, and there is no sudo. As root: apt-get install $*"
        sudo=(sudo)
    fi
    say "installing $*"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # Servers among them are parts for tests to start: what apt would start by itself takes port 80.
    local policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
        "${sudo[@]}" chmod +x "$policy"
        # shellcheck disable=SC2064 # as they are now
        trap "${sudo[*]} rm -f $policy" EXIT
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    if [[ -d /run/systemd/system ]]; then
        for service in nginx varnish prometheus; do
            [[ " $* " != *" $service"* ]] || "${sudo[@]}" systemctl disable --quiet "$service" 2>/dev/null || true
        done
    fi
}

list() {
    local group check package
    for group in passthrough build demo test proof fuzz deb; do
        printf '%s\n' "$group"
        while IFS='|' read -r check package; do
            # shellcheck disable=SC2086 # a check is a command and its arguments
            $check && printf '  ok       %s\n' "$package" || printf '  missing  %s\n' "$package"
        done < <(needs "$group")
    done | sed 's/  */ /2'
}

case ${1:-} in
    --list) list; exit ;;
    '' | -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 64 ;;
esac

lines=$(needs "$@") || exit
missing=()
while IFS='|' read -r check package; do
    # shellcheck disable=SC2086
    $check || missing+=($package)
done <<<"$lines"
if ((${#missing[@]})); then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    install_packages "${missing[@]}"
    while IFS='|' read -r check package; do
        # shellcheck disable=SC2086
        $check || die "after installing$package, this still fails: $check"
    done <<<"$lines"
fi
check_rust
# A minute and a half on two cores, once.
if [[ " $* " =~ \ (test|deb)\  ]] && ! cargo deb --version >/dev/null 2>&1; then
    say "installing cargo-deb"
    cargo install --quiet --locked cargo-deb
fi
if [[ " $* " == *" fuzz "* ]] && ! cargo fuzz --version >/dev/null 2>&1; then
    say "installing cargo-fuzz"
    cargo install --quiet --locked cargo-fuzz
fi
