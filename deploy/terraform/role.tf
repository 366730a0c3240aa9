module "policy" {
  source         = "./policy"
  role           = var.runs_in
  application    = local.application
  fan_out        = var.fan_out
  daemon_metrics = var.daemon_metrics
  arns = {
    Everything       = ["*"]
    Stream           = ["${local.prefix}:kinesis:${local.place}:stream/${var.stream}"]
    StreamConsumers  = ["${local.prefix}:kinesis:${local.place}:stream/${var.stream}/consumer/*"]
    StreamKey        = compact([var.stream_key_arn])
    Keys             = var.key_arns
    LeaseTable       = ["${local.prefix}:dynamodb:${local.place}:table/${local.application}"]
    LeaseTableIndex  = ["${local.prefix}:dynamodb:${local.place}:table/${local.application}/index/LeaseOwnerToLeaseKeyIndex"]
    CoordinatorTable = ["${local.prefix}:dynamodb:${local.place}:table/${local.application}-CoordinatorState"]
    WorkersTable     = ["${local.prefix}:dynamodb:${local.place}:table/${local.application}-WorkerMetricStats"]
    StateTable       = ["${local.prefix}:dynamodb:${local.place}:table/${var.state_table}"]
    StateBucket      = [for name in compact([var.state_bucket]) : "${local.prefix}:s3:::${name}"]
    StateObjects     = [for name in compact([var.state_bucket]) : "${local.prefix}:s3:::${name}/${var.pipeline}/*"]
    DeliveryStreams = sort(concat(
      [for name in var.delivery_streams : "${local.prefix}:firehose:${local.place}:deliverystream/${name}"],
      var.other_delivery_stream_arns,
    ))
    Objects  = var.object_arns
    Queues   = var.queue_arns
    LogGroup = ["${local.prefix}:logs:${local.place}:log-group:${coalesce(var.log_group, "/aws/lambda/${var.pipeline}")}:*"]
  }
}

resource "aws_iam_role" "pipeline" {
  name_prefix        = "streamgauge-"
  description        = "What the pipeline ${var.pipeline} calls, and nothing else."
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = var.tags
}

resource "aws_iam_role_policy" "pipeline" {
  name   = "streamgauge"
  role   = aws_iam_role.pipeline.id
  policy = module.policy.json
}

data "aws_iam_policy_document" "trust" {
  dynamic "statement" {
    for_each = compact([var.trusted.service])
    content {
      # EKS Pod Identity tags its sessions.
      actions = statement.value == "pods.eks.amazonaws.com" ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"]
      principals {
        type        = "Service"
        identifiers = [statement.value]
      }
    }
  }

  dynamic "statement" {
    for_each = compact([var.trusted.oidc_provider_arn])
    content {
      actions = ["sts:AssumeRoleWithWebIdentity"]
      principals {
        type        = "Federated"
        identifiers = [statement.value]
      }
      condition {
        test     = "StringEquals"
        variable = "${var.trusted.oidc_issuer}:sub"
        values   = ["system:serviceaccount:${var.trusted.service_account}"]
      }
      condition {
        test     = "StringEquals"
        variable = "${var.trusted.oidc_issuer}:aud"
        values   = ["sts.amazonaws.com"]
      }
    }
  }
}
