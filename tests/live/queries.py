"""What the UI asks of the webserver, and tells it: GraphQL."""

BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""

BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
  status
  assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
    assetKey { path } numPartitionsMaterialized numPartitionsFailed
  } } }
} } }
"""

CANCEL_BACKFILL = "mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"

TERMINATE = """
mutation($id: String!) { terminateRun(runId: $id, terminatePolicy: SAFE_TERMINATE) { __typename } }
"""

REEXECUTE = """
mutation($params: ReexecutionParams!) {
  launchRunReexecution(reexecutionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""

RUNS = """
query($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
  runId status tags { key value } assetSelection { path }
} } } }
"""

LOG = """
query($id: ID!, $after: String) { logsForRun(runId: $id, afterCursor: $after) { ... on EventConnection {
  cursor hasMore events {
    ... on MessageEvent { message }
    ... on ErrorEvent { error { message } }
  }
} } }
"""

MATERIALIZATIONS = """
query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetMaterializations(limit: 5000) { partition runId metadataEntries { label } }
} } }
"""

CHECKS = """
query($key: AssetKeyInput!, $name: String!) {
  assetCheckExecutions(assetKey: $key, checkName: $name, limit: 5000) {
    partition runId status evaluation { success }
  }
}
"""

START_SENSOR = """
mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename ... on Sensor { id } } }
"""

STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"

TICKS = """
query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState {
  status ticks(limit: 100) { status skipReason runIds error { message } }
} } } }
"""
