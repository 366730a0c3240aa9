# What a pipeline needs in AWS besides its home (EKS, ECS, Lambda): tables, stream, Firehose streams, buckets, its role.
# README.md says how to use it, and what of it was not run for real.

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}
data "aws_region" "here" {}

locals {
  application = coalesce(var.application, var.pipeline)
  prefix      = "arn:${data.aws_partition.here.partition}"
  place       = "${data.aws_region.here.region}:${data.aws_caller_identity.here.account_id}"
}
