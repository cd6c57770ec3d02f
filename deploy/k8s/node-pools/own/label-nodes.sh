#!/bin/sh
# Your own nodes as the two pools. The GPU nodes need NVIDIA's device plugin.
#   CPU_NODES="a b" GPU_NODES="c" sh label-nodes.sh
set -eu
: "${CPU_NODES:?}" "${GPU_NODES:?}"
for node in $CPU_NODES; do
    kubectl label node "$node" --overwrite muniflow/pool=cpu
    kubectl taint node "$node" --overwrite muniflow/pool=cpu:NoSchedule
done
for node in $GPU_NODES; do
    kubectl label node "$node" --overwrite muniflow/pool=gpu
    kubectl taint node "$node" --overwrite nvidia.com/gpu=present:NoSchedule
done
