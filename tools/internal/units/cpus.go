package units

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// ParseCPUs reads a list of CPUs such as "2,4-6", as taskset and the kernel write it, into rising numbers;
// none if it is empty.
func ParseCPUs(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var cpus []int
	for part := range strings.SplitSeq(s, ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.ParseUint(first, 10, 10)
		b := a
		if err == nil && ranged {
			b, err = strconv.ParseUint(last, 10, 10)
		}
		if err != nil || b < a {
			return nil, errors.New("want numbers and ranges such as 2,4-6")
		}
		for n := a; n <= b; n++ {
			cpus = append(cpus, int(n))
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// FormatCPUs writes rising numbers as ParseCPUs reads them.
func FormatCPUs(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		last := i
		for last+1 < len(cpus) && cpus[last+1] == cpus[last]+1 {
			last++
		}
		part := strconv.Itoa(cpus[i])
		if last > i {
			part += "-" + strconv.Itoa(cpus[last])
		}
		parts = append(parts, part)
		i = last + 1
	}
	return strings.Join(parts, ",")
}
