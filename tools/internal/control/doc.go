// Package control is how operators and scripts talk to the daemon: JSON documents over HTTP/1.1 on
// a unix socket, and the Go types of both sides.
//
//	GET  /v1/version     -> VersionInfo
//	GET  /v1/status      -> Status
//	GET  /v1/list        -> List, streamed; ?snapshots=1 or ?all=1 lists more than volumes
//	POST /v1/create      CreateRequest     -> VolumeResult
//	POST /v1/rm          RemoveRequest     -> Done
//	POST /v1/snapshot    SnapshotRequest   -> List, of the new snapshots
//	POST /v1/clone       CloneRequest      -> CloneResult
//	POST /v1/rollback    RollbackRequest   -> VolumeResult
//	POST /v1/rename      RenameRequest     -> VolumeResult
//	POST /v1/resize      ResizeRequest     -> VolumeResult
//	POST /v1/attach      AttachRequest     -> VolumeResult
//	POST /v1/detach      DetachRequest     -> VolumeResult
//	POST /v1/grow        GrowRequest       -> GrowResult
//	POST /v1/checkpoint  CheckpointRequest -> Done
//	POST /v1/shutdown    ShutdownRequest   -> Done
//
// Every document names its schema, "unblend/NAME/v1". Within a version fields are only added. Sizes
// and counts are integers, sizes in bytes; times are RFC 3339 in UTC, to the second; what does not
// apply is left out. A refusal is an ErrorDocument with the HTTP status of its code. `unblend help
// json` prints the fields of all documents.
//
// The socket is root's; a group may be let in. Whoever got past the socket's permissions is asked
// for again: the kernel says who opened the connection (SO_PEERCRED), and every verb says whom it
// serves. Requests are bounded in size and time, and decoded strictly: a field that the daemon does
// not know is an error, because it may have meant something.
package control
