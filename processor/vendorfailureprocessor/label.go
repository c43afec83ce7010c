package vendorfailureprocessor

import (
	"maps"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// defaultOrderLogs are the values of the kind label by which loggers mark served requests.
var defaultOrderLogs = map[string][]string{"type": {"http", "http-req", "http_request", "httpRequest"}}

// label is an attribute that tells which records record orders and vendor calls. The first attribute of every entry
// of the configuration is one, so that a record that matches nothing costs one look-up for each.
type label struct {
	names  []fieldName // the attribute; for type, event and kind the other two as well
	values map[string]*candidates
	begin  initials // of the values
}

// candidates are those whose records may have a label's value.
type candidates struct {
	endpoints, vendors []candidate
	also               bool // some ask for more than the label
}

// candidate is one order endpoint or vendor, by index, with what else its records must have.
type candidate struct {
	index int16
	also  []labelValues
}

type labelValues struct {
	names  []fieldName
	values []string
}

func newLabels(cfg *Config) []label {
	var labels []label
	add := func(attributes map[string][]string, index int, list func(*candidates) *[]candidate) {
		keys := slices.Sorted(maps.Keys(attributes))
		if len(keys) == 0 {
			return
		}
		c := candidate{index: int16(index)}
		for _, key := range keys[1:] {
			c.also = append(c.also, labelValues{names: labelNames(key), values: attributes[key]})
		}
		at := slices.IndexFunc(labels, func(l label) bool { return l.names[0].name == keys[0] })
		if at < 0 {
			at = len(labels)
			labels = append(labels, label{names: labelNames(keys[0]), values: map[string]*candidates{}})
		}
		for _, value := range attributes[keys[0]] {
			found := labels[at].values[value]
			if found == nil {
				found = &candidates{}
				labels[at].values[value] = found
				labels[at].begin.add(value)
			}
			l := list(found)
			*l = append(*l, c)
			found.also = found.also || len(c.also) > 0
		}
	}
	for i, o := range cfg.Orders {
		attributes := o.Logs.Attributes
		if len(attributes) == 0 {
			attributes = defaultOrderLogs
		}
		add(attributes, i, func(c *candidates) *[]candidate { return &c.endpoints })
	}
	for i, v := range cfg.Vendors {
		add(v.Calls.Logs.Attributes, i, func(c *candidates) *[]candidate { return &c.vendors })
	}
	return labels
}

// labelNames returns the names of an attribute of the configuration: what one logger calls type, others call event or
// kind.
func labelNames(key string) []fieldName {
	names := fieldNames(key)
	if slices.ContainsFunc(kindNames, func(n fieldName) bool { return n.name == key }) {
		for _, n := range kindNames {
			if n.name != key {
				names = append(names, n)
			}
		}
	}
	return names
}

// match returns the order endpoints and vendors that a record may speak of, by one label, or nil where there are none.
func (l *label) match(record plog.LogRecord, resource pcommon.Resource) *candidates {
	value := labelOf(record, resource, l.names)
	if !l.begin.has(value) {
		return nil
	}
	found := l.values[value]
	if found == nil || !found.also {
		return found
	}
	endpoints, vendors := having(found.endpoints, record, resource), having(found.vendors, record, resource)
	if len(endpoints) == 0 && len(vendors) == 0 {
		return nil
	}
	return &candidates{endpoints: endpoints, vendors: vendors}
}

// having returns the candidates whose further attributes a record has.
func having(list []candidate, record plog.LogRecord, resource pcommon.Resource) []candidate {
	return slices.DeleteFunc(slices.Clone(list), func(c candidate) bool {
		return slices.ContainsFunc(c.also, func(also labelValues) bool {
			return !slices.Contains(also.values, labelOf(record, resource, also.names))
		})
	})
}

// labelOf returns a record's label: its attribute, its resource's, or a field of its body.
func labelOf(record plog.LogRecord, resource pcommon.Resource, names []fieldName) string {
	for i := range names {
		if v, ok := record.Attributes().Get(names[i].name); ok {
			return stringOf(v)
		}
	}
	for i := range names {
		if v, ok := resource.Attributes().Get(names[i].name); ok {
			return stringOf(v)
		}
	}
	body := record.Body()
	switch body.Type() {
	case pcommon.ValueTypeMap:
		for i := range names {
			if v, ok := body.Map().Get(names[i].name); ok {
				return stringOf(v)
			}
		}
	case pcommon.ValueTypeStr:
		return labelIn(body.Str(), names)
	case pcommon.ValueTypeBytes:
		return labelIn(string(body.Bytes().AsRaw()), names)
	}
	return ""
}

func labelIn(body string, names []fieldName) string {
	if strings.HasPrefix(body, `"`) {
		body = textOf(unwrap(gjson.Result{Type: gjson.String, Str: body}))
	}
	if !strings.HasPrefix(body, "{") {
		return ""
	}
	for i := range names {
		if strings.Contains(body, names[i].quoted) {
			if v := gjson.Get(body, escapeDots(names[i].name)); v.Exists() {
				return v.String()
			}
		}
	}
	return ""
}
