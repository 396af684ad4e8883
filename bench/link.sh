#!/bin/sh
# A link between two network namespaces, shaped to a rate in both directions; COMMAND runs at the one end, 10.87.0.1. The other end is
# the namespace NAME-far. Needs root.
#
#     link.sh MBIT NAME COMMAND...
set -eu
mbit=$1 near=$2-near far=$2-far
shift 2
clean() {
    for ns in $near $far; do ip netns del $ns 2>/dev/null || true; done
}
trap clean EXIT INT TERM
clean
ip netns add $near
ip netns add $far
ip -n $near link add e0 type veth peer name e0 netns $far
n=1
for ns in $near $far; do
    ip -n $ns link set lo up
    ip -n $ns addr add 10.87.0.$n/24 dev e0
    ip -n $ns link set e0 up
    tc -n $ns qdisc add dev e0 root tbf rate "${mbit}mbit" burst 2mb latency 50ms
    n=2
done
ip netns exec $near "$@"
