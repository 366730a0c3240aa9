resource "aws_kinesis_firehose_delivery_stream" "rows" {
  for_each    = var.delivery_streams
  name        = each.value
  destination = "extended_s3"
  tags        = var.tags

  extended_s3_configuration {
    role_arn            = aws_iam_role.firehose[0].arn
    bucket_arn          = aws_s3_bucket.made["results"].arn
    prefix              = "${each.value}/!{timestamp:yyyy/MM/dd/HH}/"
    error_output_prefix = "failed/${each.value}/!{firehose:error-output-type}/!{timestamp:yyyy/MM/dd/HH}/"
    buffering_size      = 64
    buffering_interval  = 60
    compression_format  = "GZIP"
  }

  lifecycle {
    precondition {
      condition     = var.results_bucket != null
      error_message = "Name the bucket that the Firehose streams write to: results_bucket."
    }
  }
}

resource "aws_iam_role" "firehose" {
  count              = length(var.delivery_streams) > 0 ? 1 : 0
  name_prefix        = "streamgauge-firehose-"
  assume_role_policy = data.aws_iam_policy_document.firehose_trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "firehose" {
  count  = length(var.delivery_streams) > 0 ? 1 : 0
  name   = "results"
  role   = aws_iam_role.firehose[0].id
  policy = data.aws_iam_policy_document.firehose[0].json
}

data "aws_iam_policy_document" "firehose_trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["firehose.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "sts:ExternalId"
      values   = [data.aws_caller_identity.here.account_id]
    }
  }
}

# As Firehose's documentation has it for a destination S3; it is Firehose that makes the calls.
data "aws_iam_policy_document" "firehose" {
  count = length(var.delivery_streams) > 0 ? 1 : 0
  statement {
    actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"]
    resources = ["${aws_s3_bucket.made["results"].arn}/*"]
  }
  statement {
    actions   = ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.made["results"].arn]
  }
}
