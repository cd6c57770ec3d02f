# Every image of muniflow, from the one Dockerfile. `make images` runs `docker buildx bake --file docker-bake.hcl`
# (without --file, bake would read compose.yaml as well).
#
#   make images BAKE=cluster                                      only what the chart installs
#   make images PUSH=1 REGISTRY=registry.example.org/imagery      to a registry
#   docker buildx bake --file docker-bake.hcl --print             what would be built, and under which names
#
# A new operation is one more name in OPERATIONS; tests/deploy/test_images.py compares it with services/.

variable "REGISTRY" {
  default = ""
  description = "Registry and folder of the images, without a slash at the end; empty: this machine alone."
}

variable "TAG" {
  default = "0.1.0"
  description = "Tag of all images: the chart's appVersion, so that `helm install` needs no value for it."
}

variable "REVISION" {
  default = "unknown"
  description = "The commit that is built; a label of every image."
}

variable "SOURCE" {
  default = ""
  description = "Where the source is, for a label of every image."
}

variable "BASE" {
  default = "docker.io/library/python:3.11-slim-bookworm"
  description = "The base image. Pin it by digest in production."
}

variable "PLATFORMS" {
  default = ""
  description = "linux/amd64,linux/arm64; empty: that of the builder. More than one needs --push."
}

variable "OPERATIONS" {
  default = "blur,resize,split"
  description = "The step services, each an image of its own."
}

function "name" {
  params = [image, suffix]
  result = "${REGISTRY == "" ? "" : "${REGISTRY}/"}muniflow-${image}:${TAG}${suffix}"
}

group "default" {
  targets = ["cluster", "gpu", "steps", "run"]
}

group "cluster" {
  targets = ["control", "step"]
}

target "common" {
  context = "."
  platforms = PLATFORMS == "" ? [] : split(",", PLATFORMS)
  args = {
    BASE = BASE
    VERSION = TAG
    REVISION = REVISION
    SOURCE = SOURCE
  }
}

target "control" {
  inherits = ["common"]
  matrix = { service = ["coordinator", "gateway"] }
  name = service
  target = "control"
  args = { SERVICES = service }
  tags = [name(service, "")]
}

target "step" {
  inherits = ["common"]
  matrix = { operation = split(",", OPERATIONS) }
  name = operation
  target = "step"
  args = { SERVICES = operation }
  tags = [name(operation, "")]
}

# The stage that gains most from a GPU; OpenCL, no CUDA.
target "gpu" {
  inherits = ["common"]
  target = "gpu"
  args = { SERVICES = "blur" }
  tags = [name("blur", "-gpu")]
}

# All operations in one worker, which chains them in memory.
target "steps" {
  inherits = ["common"]
  target = "step"
  args = { SERVICES = replace(OPERATIONS, ",", " ") }
  tags = [name("steps", "")]
}

# `muniflow run` as a task that ends: the command line with all operations.
target "run" {
  inherits = ["common"]
  target = "run"
  args = { SERVICES = replace(OPERATIONS, ",", " ") }
  tags = [name("run", "")]
}
