#!/bin/sh
# GKE: two classic node pools from zero. Idle cost: nothing but the cluster itself.
#   CLUSTER=imagery REGION=europe-west4 sh node-pools.sh
set -eu
: "${CLUSTER:?}" "${REGION:?}"
# --location-policy=ANY takes spot capacity in whichever zone has it.
gcloud container node-pools create muniflow-cpu --cluster "$CLUSTER" --region "$REGION" \
    --machine-type c3-standard-8 --spot --location-policy ANY \
    --num-nodes 0 --enable-autoscaling --total-min-nodes 0 --total-max-nodes 12 \
    --node-labels muniflow/pool=cpu --node-taints muniflow/pool=cpu:NoSchedule
# GKE sets the taint nvidia.com/gpu=present:NoSchedule and the label cloud.google.com/gke-accelerator by itself.
gcloud container node-pools create muniflow-gpu --cluster "$CLUSTER" --region "$REGION" \
    --machine-type g2-standard-8 --accelerator type=nvidia-l4,count=1,gpu-driver-version=default --spot --location-policy ANY \
    --num-nodes 0 --enable-autoscaling --total-min-nodes 0 --total-max-nodes 4 \
    --node-labels muniflow/pool=gpu
# How eagerly nodes go when they are empty (default: balanced).
gcloud container clusters update "$CLUSTER" --region "$REGION" --autoscaling-profile optimize-utilization
