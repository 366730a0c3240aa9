locals {
  buckets = merge(
    var.create_state_bucket ? { state = var.state_bucket } : {},
    var.results_bucket == null ? {} : { results = var.results_bucket },
  )
}

resource "aws_s3_bucket" "made" {
  for_each = local.buckets
  bucket   = each.value
  tags     = var.tags
}

resource "aws_s3_bucket_public_access_block" "made" {
  for_each                = aws_s3_bucket.made
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}
