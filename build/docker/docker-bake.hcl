# Used by `make docker-build`; see README.md in this folder.

variable "VERSION" {
  default = "0.1.0"
}

variable "IMAGE" {
  default = "spotalis"
}

# Digests (sha256:...) from pins.env. They have no defaults, so that no build picks up whatever a tag points to at the
# moment: `make docker-build` checks them first.
variable "PYTHON_DIGEST" {
}

variable "SBOM_SCANNER_DIGEST" {
}

variable "SOURCE_DATE_EPOCH" {
  default = "0"
}

# The address of the sources and the commit, for the image's labels; empty: no label.
variable "SOURCE" {
  default = ""
}

variable "REVISION" {
  default = ""
}

group "default" {
  targets = ["spotalis"]
}

target "spotalis" {
  context    = "."
  dockerfile = "build/docker/Dockerfile"
  platforms  = ["linux/amd64", "linux/arm64"]
  tags       = ["${IMAGE}:${VERSION}"]
  args = {
    VERSION           = VERSION
    PYTHON_DIGEST     = PYTHON_DIGEST
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
  labels = {
    for key, value in { source = SOURCE, revision = REVISION } :
    "org.opencontainers.image.${key}" => value if value != ""
  }
  attest = ["type=provenance,mode=max", "type=sbom,generator=docker/buildkit-syft-scanner@${SBOM_SCANNER_DIGEST}"]
  output = ["type=image,push=false,rewrite-timestamp=true"]
}
