resource "aws_dynamodb_table" "state" {
  count                       = var.create_state_table ? 1 : 0
  name                        = var.state_table
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  ttl {
    attribute_name = "expires_at"
    enabled        = true
  }

  point_in_time_recovery {
    enabled = true
  }
}

# The daemon would make these three itself: half a minute more at the first start, and two permissions more.
resource "aws_dynamodb_table" "leases" {
  count                       = var.runs_in == "worker" ? 1 : 0
  name                        = local.application
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "leaseKey"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "leaseKey"
    type = "S"
  }

  attribute {
    name = "leaseOwner"
    type = "S"
  }

  global_secondary_index {
    name            = "LeaseOwnerToLeaseKeyIndex"
    hash_key        = "leaseOwner"
    range_key       = "leaseKey"
    projection_type = "KEYS_ONLY"
  }
}

resource "aws_dynamodb_table" "coordinator" {
  count                       = var.runs_in == "worker" ? 1 : 0
  name                        = "${local.application}-CoordinatorState"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "key"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "key"
    type = "S"
  }
}

resource "aws_dynamodb_table" "workers" {
  count                       = var.runs_in == "worker" ? 1 : 0
  name                        = "${local.application}-WorkerMetricStats"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "wid"
  deletion_protection_enabled = var.deletion_protection
  tags                        = var.tags

  attribute {
    name = "wid"
    type = "S"
  }
}
