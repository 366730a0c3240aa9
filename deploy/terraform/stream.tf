resource "aws_kinesis_stream" "events" {
  count            = var.create_stream ? 1 : 0
  name             = var.stream
  retention_period = var.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = coalesce(var.stream_key_arn, "alias/aws/kinesis")
  tags             = var.tags

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}
