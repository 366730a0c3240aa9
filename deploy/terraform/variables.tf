variable "pipeline" {
  type        = string
  description = "The pipeline's name, as in the pipeline file; the folder of its state in the bucket."
}

variable "application" {
  type        = string
  default     = null
  description = "As worker.application in the pipeline file; without it, the pipeline's name. Names the daemon's tables."
}

variable "runs_in" {
  type        = string
  default     = "worker"
  description = "worker or lambda: which of the policies of deploy/iam the role gets. Lambda needs no lease tables."
  validation {
    condition     = contains(["worker", "lambda"], var.runs_in)
    error_message = "Write worker or lambda."
  }
}

variable "trusted" {
  type = object({
    service           = optional(string)
    oidc_provider_arn = optional(string)
    oidc_issuer       = optional(string)
    service_account   = optional(string)
  })
  default     = { service = "pods.eks.amazonaws.com" }
  description = <<-EOT
    Who takes the role. A service: pods.eks.amazonaws.com (EKS Pod Identity, the default), ecs-tasks.amazonaws.com,
    lambda.amazonaws.com. Or, for IRSA, the cluster's OIDC provider, its issuer without https://, and
    NAMESPACE:SERVICE_ACCOUNT.
  EOT
  validation {
    condition     = (var.trusted.service == null) != (var.trusted.oidc_provider_arn == null)
    error_message = "Name either a service or an OIDC provider."
  }
}

variable "stream" {
  type        = string
  description = "As source.stream in the pipeline file: a name."
}

variable "create_stream" {
  type        = bool
  default     = false
  description = "Whether to make the stream, on demand."
}

variable "retention_hours" {
  type        = number
  default     = 24
  description = "How long a stream that is made here keeps its records: as long as an outage may last."
}

variable "stream_key_arn" {
  type        = string
  default     = null
  description = "Your KMS key that the stream is encrypted by, if any; without it, a stream made here has AWS' own."
}

variable "fan_out" {
  type        = bool
  default     = false
  description = "Whether worker.kcl has retrievalMode FANOUT."
}

variable "daemon_metrics" {
  type        = bool
  default     = false
  description = "Whether worker.kcl has a metricsLevel but NONE."
}

variable "state_table" {
  type        = string
  default     = "streamgauge-state"
  description = "As state.table in the pipeline file."
}

variable "create_state_table" {
  type        = bool
  default     = true
  description = "Whether to make the state table; several pipelines can share one."
}

variable "state_bucket" {
  type        = string
  default     = null
  description = "As state.bucket in the pipeline file, if it names one."
}

variable "create_state_bucket" {
  type        = bool
  default     = false
  description = "Whether to make it."
}

variable "deletion_protection" {
  type        = bool
  default     = true
  description = "Whether the tables are protected from being deleted."
}

variable "delivery_streams" {
  type        = set(string)
  default     = []
  description = "Names of Firehose streams to make, each of which writes to its folder of the results bucket."
}

variable "results_bucket" {
  type        = string
  default     = null
  description = "The bucket that they write to; it is made here."
}

variable "other_delivery_stream_arns" {
  type        = list(string)
  default     = []
  description = "Firehose streams of the pipeline that are there already."
}

variable "object_arns" {
  type        = list(string)
  default     = []
  description = "What s3 sinks write, each as arn:aws:s3:::BUCKET/PREFIX/*."
}

variable "queue_arns" {
  type        = list(string)
  default     = []
  description = "The queues of sqs sinks."
}

variable "key_arns" {
  type        = list(string)
  default     = []
  description = "Your KMS keys that buckets and queues are encrypted by, if any."
}

variable "log_group" {
  type        = string
  default     = null
  description = "The Lambda function's log group, if it is not /aws/lambda/PIPELINE."
}

variable "tags" {
  type    = map(string)
  default = {}
}
