#!/bin/sh
# The address is often there already: liblxc sets it before init runs. Then nothing may flicker.
case "$1" in
bound | renew)
  if ! ip -o addr show dev "$interface" | grep -q " $ip/"; then
    ip addr flush dev "$interface" scope global
    ip addr add "$ip/${mask:-24}" dev "$interface"
  fi
  [ -n "$router" ] && ip route replace default via "${router%% *}" dev "$interface"
  {
    [ -n "$domain" ] && echo "search $domain"
    for server in $dns; do echo "nameserver $server"; done
  } >/etc/resolv.conf
  ;;
esac
exit 0
