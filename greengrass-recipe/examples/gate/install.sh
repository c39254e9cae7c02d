#!/bin/sh
# Puts the gate of plugins/examples/python onto this core, as a service of its own: its own user, no network, its own devices. Run by
# Greengrass as root, at each start of the nucleus on classic, so it changes only what is not yet so.
# install.sh ARTIFACTS GREENGRASS-ROOT
set -eu
artifacts="$1" root="$2"

fail() {
    echo "gate: $*" >&2
    exit 1
}

command -v systemctl >/dev/null || fail "there is no systemd on this core"
/usr/bin/python3 -c 'import dbus_fast' 2>/dev/null || fail "python3-dbus-fast is missing: it belongs into the image (apt-get install python3-dbus-fast)"

# Only the user that the gateway runs as may call the gate; it owns the gateway's working folder. In a deployment of both, the classic
# nucleus makes that at the same time, as root's at first. Where it stays root's, the gateway is root, who may call in any case.
patience=30
until caller="$(stat -c %U "$root/work/io.nowd.Gateway" 2>/dev/null)" && [ "$caller" != root ]; do
    [ $patience -gt 0 ] || break
    patience=$((patience - 1))
    sleep 1
done
[ -n "$caller" ] || fail "io.nowd.Gateway is not deployed here; deploy both together, or it first"

id nowd-gate >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin nowd-gate

changed=no
# put FILE PLACE MODE: FILE to PLACE, if it is not there already.
put() {
    cmp -s "$1" "$2" && return
    install -D -m "$3" "$1" "$2"
    changed=yes
}
policy="$(mktemp)"
trap 'rm -f "$policy"' EXIT
sed "s/<policy user=\"nowd\">/<policy user=\"$caller\">/" "$artifacts/com.example.Gate.conf" >"$policy"
put "$artifacts/gate.py" /usr/local/lib/nowd-gate/gate.py 755
put "$policy" /etc/dbus-1/system.d/com.example.Gate.conf 644
put "$artifacts/gate.service" /etc/systemd/system/gate.service 644

if [ $changed = yes ]; then
    systemctl daemon-reload
    # By whatever name the bus goes here.
    systemctl reload dbus.service || systemctl reload dbus-broker.service
    systemctl enable gate.service
    systemctl restart gate.service
fi
systemctl is-active --quiet gate.service || systemctl start gate.service
