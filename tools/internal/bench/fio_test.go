package bench

import "testing"

func TestParseFio(t *testing.T) {
	r, err := parseFio([]byte(`fio: note
{ "jobs": [
	{ "jobname": "a", "error": 0, "write": { "iops": 10.5, "bw_bytes": 43008, "total_ios": 21,
		"clat_ns": { "percentile": { "50.000000": 7, "99.000000": 9 } } } },
	{ "jobname": "b", "error": 0, "write": { "iops": 1.5, "bw_bytes": 6144, "total_ios": 3 } } ] }`))
	if err != nil || r.IOPS != 12 || r.Bytes != 49152 || r.Writes != 24 || r.P50 != 7 || r.P99 != 9 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "{", `{"jobs":[]}`, `{"jobs":[{"error":5}]}`} {
		if _, err := parseFio([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
