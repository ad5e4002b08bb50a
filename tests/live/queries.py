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
mutation($id: String!, $policy: TerminateRunPolicy) {
  terminateRun(runId: $id, terminatePolicy: $policy) { __typename }
}
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

OBSERVATIONS = """
query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
  assetObservations(limit: 1000) { partition runId description metadataEntries {
    label ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue }
  } }
} } }
"""

ADD_PARTITION = """
mutation($repository: RepositorySelector!, $name: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $repository, partitionsDefName: $name, partitionKey: $key) { __typename }
}
"""

CHECKS = """
query($key: AssetKeyInput!, $name: String!) {
  assetCheckExecutions(assetKey: $key, checkName: $name, limit: 5000) {
    partition runId status evaluation { success severity }
  }
}
"""

CHECK_STATUSES = """
query($key: AssetKeyInput!, $name: String!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetCheckOrError(checkName: $name) { ... on AssetCheck { partitionStatuses {
    ... on AssetCheckTimePartitionStatuses { ranges { startKey endKey status } }
  } } }
} } }
"""

START_SENSOR = """
mutation($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename ... on Sensor { id } } }
"""

STOP_SENSOR = "mutation($id: String!) { stopSensor(id: $id) { __typename } }"

START_SCHEDULE = """
mutation($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) {
  __typename ... on ScheduleStateResult { scheduleState { id } } ... on PythonError { message }
} }
"""

STOP_SCHEDULE = """
mutation($id: String!) { stopRunningSchedule(id: $id) {
  __typename ... on ScheduleStateResult { scheduleState { status } } ... on PythonError { message }
} }
"""

TICKS = """
query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor { sensorState {
  status ticks(limit: 100) { status skipReason runIds error { message } }
} } } }
"""

PAGE = """
query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  description kinds
  owners { ... on TeamAssetOwner { team } ... on UserAssetOwner { email } }
  assetChecksOrError { ... on AssetChecks { checks { name description } } }
  metadataEntries {
    label
    ... on TextMetadataEntry { text }
    ... on TableSchemaMetadataEntry { schema { columns { name type description } } }
  }
} } }
"""

STALE = """
query($key: AssetKeyInput!, $years: [String!]!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  staleStatusByPartition(partitions: $years) staleCausesByPartition(partitions: $years) { category reason }
} } }
"""

RELOAD = """
mutation($location: String!) { reloadRepositoryLocation(repositoryLocationName: $location) {
  __typename ... on WorkspaceLocationEntry { loadStatus } ... on PythonError { message }
} }
"""
