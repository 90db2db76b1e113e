#!/usr/bin/env bash
# The demo: the daemon, a test broadcast into it, a shop that posts events, and the addresses to open. Ctrl-C stops everything.
#
#   conf/demo.sh target/release/vitrine
#
# From the environment: RTMP_PORT (1935), HTTP_PORT (8080), CONTROL_PORT (8081); BROADCAST=no leaves the stream to you,
# SHOP=no its events.
set -euo pipefail
cd "$(dirname "$0")/.."

vitrine=${1:?usage: conf/demo.sh <vitrine binary>}
rtmp_port=${RTMP_PORT:-1935} http_port=${HTTP_PORT:-8080} control_port=${CONTROL_PORT:-8081}

die() { printf '\ndemo: %s\n' "$@" >&2; exit 1; }
is_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

for pair in "RTMP_PORT $rtmp_port" "HTTP_PORT $http_port" "CONTROL_PORT $control_port"; do
    read -r name port <<<"$pair"
    ! is_busy "$port" || die "port $port is taken by another program. Choose another: make demo $name=$((port + 10000))"
done

scratch=$(mktemp -d "${TMPDIR:-/tmp}/vitrine-demo.XXXXXX")
daemon='' broadcast='' shop=''
stop() {
    trap - EXIT INT TERM
    [[ -z $shop ]] || kill "$shop" 2>/dev/null || true
    [[ -z $broadcast ]] || kill "$broadcast" 2>/dev/null || true
    [[ -z $daemon ]] || kill "$daemon" 2>/dev/null || true
    wait || true
    rm -rf "$scratch"
}
trap stop EXIT
trap 'printf "\ndemo: stopping\n"; exit 0' INT TERM

export VITRINE_RTMP_LISTEN=0.0.0.0:$rtmp_port VITRINE_HTTP_LISTEN=0.0.0.0:$http_port
export VITRINE_CONTROL_LISTEN=127.0.0.1:$control_port VITRINE_DATA_DIR=$scratch/data
mkfifo "$scratch/ready"
"$vitrine" --config conf/demo.toml >"$scratch/ready" &
daemon=$!

# The daemon says `listening <what> <address>` once per listener when it is ready; end of file means it is gone.
exec 3<"$scratch/ready"
listeners=0
while ((listeners < 3)) && read -r -t 20 word _ <&3; do
    [[ $word != listening ]] || listeners=$((listeners + 1))
done
((listeners == 3)) || die "the daemon did not start; what it said is above"
cat <&3 >/dev/null &

if [[ ${BROADCAST:-yes} == yes ]]; then
    conf/testcard.sh -f flv "rtmp://127.0.0.1:$rtmp_port/live/demo-key" &
    broadcast=$!
fi
if [[ ${SHOP:-yes} == yes ]]; then
    node examples/event_backend.mjs "http://127.0.0.1:$control_port" demo &
    shop=$!
fi

lan=$(hostname -I 2>/dev/null | awk '{print $1}') || lan=
bold=$'\e[1m' plain=$'\e[0m'
[[ -t 1 ]] || bold='' plain=''
cat <<TEXT

  ${bold}Watch${plain}    http://localhost:$http_port/?stream=demo
${lan:+           http://$lan:$http_port/?stream=demo   (a phone on the same network)
}  HLS      http://localhost:$http_port/live/demo/index.m3u8
  Control  http://localhost:$control_port/v1/streams   /metrics   /healthz

  ${bold}Broadcast${plain} yourself with OBS (Settings, Stream, Service: Custom); your picture takes over from the test card:
           Server      rtmp://localhost:$rtmp_port/live
           Stream key  demo-key

  Ctrl-C stops everything.

TEXT

# A takeover ends the test card, not the demo; the end of the daemon ends it.
wait "$daemon" || die "the daemon ended; what it said is above"
