// Package tracefile has the format of a recorded trace: what trace record writes, trace plot reads, and
// trace events --json prints.
//
//	+--------------------------------------------------------------------------------+
//	| {"schema":"unblend/trace-events/v1","start":...,"layout":...,"sample":1}       | once
//	+--------------------------------------------------------------------------------+
//	| {"schema":"unblend/trace-events-stream/v1","kind":"volume","name":"web1",...}  | before the
//	|                                                                                | first request
//	| {"at_ns":1200345,"kind":"volume","name":"web1","op":"write",                   | of each
//	|  "offset":4096,"bytes":4096,"queue_ns":1200,"device_ns":250000}                | one request
//	| ...                                                                            |
//	+--------------------------------------------------------------------------------+
//	| {"schema":"unblend/trace-events-end/v1","seconds":10.0,"events":52311,...}     | once
//	+--------------------------------------------------------------------------------+
//
// Each box is lines of JSON; unblend help json describes the fields. Requests have no schema of their
// own: the first line's is theirs. A reader refuses a schema that it does not know, and passes over
// fields that it does not know.
//
// It is text and not a binary format with checksums because a recording is looked at and thrown away:
// any tool can read it, a stream can be piped into one, and it compresses to a tenth. What a checksum
// would find is found otherwise: a file that was cut short has no last line, the last line has the
// number of requests, and a line that was damaged is not JSON or not one of these.
package tracefile
