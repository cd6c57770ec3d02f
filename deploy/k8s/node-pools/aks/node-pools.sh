#!/bin/sh
# AKS: two node pools from zero. Idle cost: nothing but the cluster's system pool.
#   GROUP=imagery CLUSTER=imagery sh node-pools.sh
set -eu
: "${GROUP:?}" "${CLUSTER:?}"
az aks nodepool add --resource-group "$GROUP" --cluster-name "$CLUSTER" --name municpu --mode User \
    --node-vm-size Standard_D8s_v5 --priority Spot --eviction-policy Delete --spot-max-price -1 \
    --node-count 0 --enable-cluster-autoscaler --min-count 0 --max-count 12 \
    --labels muniflow/pool=cpu --node-taints muniflow/pool=cpu:NoSchedule,kubernetes.azure.com/scalesetpriority=spot:NoSchedule
az aks nodepool add --resource-group "$GROUP" --cluster-name "$CLUSTER" --name munigpu --mode User \
    --node-vm-size Standard_NC4as_T4_v3 \
    --node-count 0 --enable-cluster-autoscaler --min-count 0 --max-count 4 \
    --labels muniflow/pool=gpu --node-taints nvidia.com/gpu=present:NoSchedule
# Spot nodes carry a second taint on AKS; values.yaml tolerates both.
az aks update --resource-group "$GROUP" --name "$CLUSTER" \
    --cluster-autoscaler-profile expander=priority scale-down-unneeded-time=3m scale-down-delay-after-add=3m
