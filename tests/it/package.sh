#!/usr/bin/env bash
# Installs the package into a copy of this system that vanishes with it, starts the daemon as the unit does, stops and purges it.
#
#   unshare --mount tests/it/package.sh <package.deb>      # as root; <its folder>/copy must not exist
#
# The copy is an overlay over / whose changes live in a tmpfs. systemd is not in charge there, so the unit's user, folder
# and command are taken from the installed unit by hand; what systemd adds is judged by `systemd-analyze` elsewhere.
set -euo pipefail

deb=$(realpath "${1:?usage: package.sh <package.deb>}")
scratch=$(dirname "$deb")/copy # gone with the caller's folder
mkdir "$scratch"
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$scratch"
mkdir "$scratch"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
root=$scratch/root
for folder in dev proc; do mount --rbind "/$folder" "$root/$folder"; done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/run"
cp "$deb" "$root/tmp/vitrine.deb"

clean=(chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive)
inside() { "${clean[@]}" "$@"; }
fail() { printf 'package: %s\n' "$*" >&2; exit 1; }
fetch() { # host:port path
    exec 4<>"/dev/tcp/${1%:*}/${1##*:}"
    printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&4
    cat <&4
    exec 4>&-
}

inside dpkg -i /tmp/vitrine.deb
unit=$root/usr/lib/systemd/system/vitrine.service
says() { sed -n "s/^$1=//p" "$unit"; }
user=$(says User)
inside getent passwd "$user" >/dev/null || fail "no user $user"
[[ $(inside stat -c '%U:%G %a' /etc/vitrine/vitrine.toml) == "root:$user 640" ]] || fail "the settings are not root:$user 640"
for file in /usr/share/vitrine/prometheus/rules.yml /usr/share/doc/vitrine/operate.md /usr/share/doc/vitrine/copyright; do
    [[ -s $root$file ]] || fail "$file is missing"
done

# As systemd would: the state folder, the user, the environment, the commands.
inside install -d -o "$user" -g "$user" -m 0750 "/var/lib/$(says StateDirectory)"
# Not by the function: a signal must reach the daemon, not a shell around it.
as_unit=("${clean[@]}" setpriv --reuid "$user" --regid "$(says Group)" --init-groups --no-new-privs --bounding-set -all
    env $(says Environment) VITRINE_RTMP_LISTEN=127.0.0.1:0 VITRINE_HTTP_LISTEN=127.0.0.1:0 VITRINE_CONTROL_LISTEN=127.0.0.1:0)
"${as_unit[@]}" /usr/bin/vitrine check --config /etc/vitrine/vitrine.toml >/dev/null || fail "vitrine check does not accept the packaged settings"
touch "$scratch/out" # before the daemon is there to do it
"${as_unit[@]}" $(says ExecStart) >"$scratch/out" 2>"$scratch/log" &
daemon=$!
trap 'kill -KILL "$daemon" 2>/dev/null || true; cat "$scratch/log" >&2' EXIT
for _ in {1..300}; do
    (($(grep -c ^listening "$scratch/out") < 3)) || break
    kill -0 "$daemon" || fail "the daemon did not start"
    sleep 0.1
done
address() { sed -n "s/^listening $1 //p" "$scratch/out"; }
[[ $(fetch "$(address control)" /healthz) == *alive* ]] || fail "/healthz"
[[ $(fetch "$(address control)" /metrics) == *vitrine_build_info* ]] || fail "/metrics"
[[ $(fetch "$(address http)" /live/nobody/index.m3u8) == *404* ]] || fail "the playback door"
exec 5<>"/dev/tcp/$(address rtmp | tr : /)" || fail "the RTMP door"
exec 5>&-
kill -TERM "$daemon"
wait "$daemon" || fail "exit status $? after SIGTERM"
trap 'cat "$scratch/log" >&2' EXIT

inside dpkg --purge vitrine
left=$(inside find / -xdev -path /proc -prune -o -path /tmp -prune -o -name '*vitrine*' -print | while read -r path; do
    # What was there before, in the system below, is not ours.
    [[ -e $path ]] || printf '%s ' "$path"
done)
[[ -z $left ]] || fail "left behind: $left"
! inside getent passwd "$user" >/dev/null || fail "the user $user is left behind"
! inside getent group "$user" >/dev/null || fail "the group $user is left behind"
trap - EXIT
echo "package: installed, started, stopped, purged"
