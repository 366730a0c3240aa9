output "role_arn" {
  description = "For the chart's serviceAccount annotation (IRSA), a Pod Identity association, a task or a function."
  value       = aws_iam_role.pipeline.arn
}

output "policy" {
  description = "The role's policy."
  value       = module.policy.json
}

output "tables" {
  description = "The tables that were made."
  value = [
    for table in concat(
      aws_dynamodb_table.state,
      aws_dynamodb_table.leases,
      aws_dynamodb_table.coordinator,
      aws_dynamodb_table.workers,
    ) : table.name
  ]
}
