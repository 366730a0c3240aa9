# The policy of a role, of deploy/iam: no provider, no resource, so that it can be run anywhere. The tests do.

variable "role" {
  type        = string
  description = "worker or lambda."
}

variable "application" {
  type        = string
  description = "The namespace of the daemon's metrics."
}

variable "arns" {
  type        = map(list(string))
  description = "What the names of resources stand for; what there is none of, gets no statement."
}

variable "fan_out" {
  type    = bool
  default = false
}

variable "daemon_metrics" {
  type    = bool
  default = false
}

variable "create_lease_tables" {
  type        = bool
  default     = false
  description = "Whether the daemon is to make its tables itself."
}

locals {
  source = yamldecode(file("${path.module}/../../iam/${var.role}.yaml"))
  has = {
    always              = true
    create_lease_tables = var.create_lease_tables
    daemon_metrics      = var.daemon_metrics
    fan_out             = var.fan_out
    firehose            = length(var.arns.DeliveryStreams) > 0
    keys                = length(var.arns.Keys) > 0
    s3                  = length(var.arns.Objects) > 0
    sqs                 = length(var.arns.Queues) > 0
    state_bucket        = length(var.arns.StateBucket) > 0
    stream_key          = length(var.arns.StreamKey) > 0
  }
  document = {
    Version = "2012-10-17"
    Statement = [
      for each in local.source.Statements : merge(
        {
          Sid      = each.Sid
          Effect   = "Allow"
          Action   = each.Action
          Resource = flatten([for name in each.Resource : var.arns[name]])
        },
        can(each.Condition) ? {
          Condition = jsondecode(replace(jsonencode(each.Condition), "{Application}", var.application))
        } : {},
      ) if local.has[try(each.When, "always")]
    ]
  }
}

output "json" {
  description = "The policy document."
  value       = jsonencode(local.document)
}
