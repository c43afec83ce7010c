package vendorfailureprocessor

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/zap"
)

// vendorNames are the names of all vendors by index: those of the configuration, and after them those discovered, of
// which there are at most discover.max_vendors.
type vendorNames struct {
	logger     *zap.Logger
	limit      int
	configured int

	mu    sync.RWMutex
	list  []string
	index map[string]int16
}

func newVendorNames(cfg *Config, logger *zap.Logger) *vendorNames {
	n := &vendorNames{logger: logger, limit: len(cfg.Vendors), configured: len(cfg.Vendors), index: map[string]int16{}}
	if cfg.Discover != nil {
		n.limit += cfg.Discover.MaxVendors
	}
	for i, v := range cfg.Vendors {
		n.list = append(n.list, v.Name)
		n.index[v.Name] = int16(i)
	}
	return n
}

// of returns the name of a vendor.
func (n *vendorNames) of(vendor int16) string {
	if vendor == otherVendor {
		return other
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.list[vendor]
}

// all returns the names of all vendors so far.
func (n *vendorNames) all() []string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.list[:len(n.list):len(n.list)]
}

// isConfigured tells whether a vendor of the configuration has a name.
func (n *vendorNames) isConfigured(name string) bool {
	v, ok := n.find(name)
	return ok && int(v) < n.configured
}

// find returns the vendor that has a name.
func (n *vendorNames) find(name string) (vendor int16, ok bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	vendor, ok = n.index[name]
	return vendor, ok
}

// discover returns the vendor that has a name, a new one where none has it yet, and otherVendor beyond the limit.
func (n *vendorNames) discover(name string) int16 {
	if v, ok := n.find(name); ok {
		return v
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if v, ok := n.index[name]; ok {
		return v
	}
	if len(n.list) >= n.limit {
		return otherVendor
	}
	v := int16(len(n.list))
	n.list = append(n.list, name)
	n.index[name] = v
	n.logger.Info("a vendor was discovered: orders call an external host that no entry of vendors has; add it to vendors, or to discover.exclude if it is none",
		zap.String(tagVendor, name))
	if len(n.list) == n.limit {
		n.logger.Warn("discover.max_vendors is reached: further external hosts are counted under the vendor.name _other",
			zap.Int("discover.max_vendors", n.limit-n.configured))
	}
	return v
}

// discovery tells which CLIENT spans went to an external host, and what a vendor there is called.
type discovery struct {
	names   *vendorNames
	exclude []string
}

// newDiscovery returns nil where the configuration does not ask for it.
func newDiscovery(cfg *Config, names *vendorNames) *discovery {
	if cfg.Discover == nil {
		return nil
	}
	d := &discovery{names: names}
	for _, host := range cfg.Discover.Exclude {
		d.exclude = append(d.exclude, strings.TrimSuffix(strings.ToLower(host), "."))
	}
	return d
}

// maxStrangers bounds the calls to external hosts of one trace that wait for its order.
const maxStrangers = 64

// stranger is a call to an external host that is no configured vendor's. It is a vendor call if it was made for an order.
// There may be a hundred thousand of them, of a few names: each name is kept once.
type stranger struct {
	call                          // vendor and caller are not known yet
	name    unique.Handle[string] // of the vendor, should it be one
	service unique.Handle[string] // of the caller
	next    *stranger             // of its trace
}

// ofOrder stands for the strangers of a trace in which an order was seen: none has to wait for one.
var ofOrder = &stranger{}

// strangerSpan is one whose request is inspected.
type strangerSpan struct {
	stranger
	attributes pcommon.Map
}

// nameOf returns what the vendor at an address would be called: as the span names its peer, or else by host. What is no
// external host, and what is excluded, has no name.
func (d *discovery) nameOf(to address, r *requestSpan) (_ unique.Handle[string], ok bool) {
	host := hostName(to.host)
	if r.isStore || !isExternal(host) || d.isExcluded(host) {
		return unique.Handle[string]{}, false
	}
	name := attributeText(r.peer)
	if name == "" || d.names.isConfigured(name) {
		// A peer that bears a configured vendor's name is not where that vendor's calls go: its rules are not for it.
		name = attributeText(host)
	} else if d.isExcluded(lowerASCII(name)) {
		return unique.Handle[string]{}, false
	}
	return unique.Make(name), name != other
}

func (d *discovery) isExcluded(name string) bool {
	return slices.ContainsFunc(d.exclude, func(pattern string) bool {
		if parent, ok := strings.CutPrefix(pattern, "*"); ok { // the dot stays: *.example.com is not example.com
			return strings.HasSuffix(name, parent)
		}
		return name == pattern
	})
}

// carrierGrade are the addresses of networks behind a provider's NAT (RFC 6598): nobody's outside such a network.
var carrierGrade = netip.MustParsePrefix("100.64.0.0/10")

// isExternal tells whether a host can be a third party's: a name of the public DNS, or a public address. Names of a
// single label and those of .internal, .local (RFC 6762), .localhost (RFC 6761) and .svc (Kubernetes) are not.
func isExternal(host string) bool {
	if host == "" {
		return false
	}
	if ip, ok := addressIn(host); ok {
		return isPublic(ip)
	}
	dot := strings.LastIndexByte(host, '.')
	if dot < 0 || strings.ContainsAny(host, "/:") { // a socket's path, or no host
		return false
	}
	switch host[dot+1:] {
	case "internal", "local", "localhost", "svc":
		return false
	}
	return true
}

// addressIn returns the IP address that a host is.
func addressIn(host string) (ip netip.Addr, ok bool) {
	if host == "" {
		return ip, false
	}
	if last := host[len(host)-1]; strings.IndexByte(host, ':') < 0 && (last < '0' || '9' < last || strings.IndexByte(host, '.') < 0) {
		return ip, false // a name, which to parse would allocate an error
	}
	ip, err := netip.ParseAddr(host)
	return ip.Unmap(), err == nil
}

func isPublic(ip netip.Addr) bool {
	return ip.IsGlobalUnicast() && !ip.IsPrivate() && !carrierGrade.Contains(ip)
}

// isPublicAddress tells whether a host is a public IP address.
func isPublicAddress(host string) bool {
	ip, ok := addressIn(host)
	return ok && isPublic(ip)
}

// meet joins strangers and orders by their traces, in whatever order and request they come. It returns those strangers,
// of this batch and of earlier ones, that were made for an order: they are calls to vendors, whose evidence goes into the
// batch; and how many are forgotten because their trace has so many.
func (m *memory) meet(now time.Time, b *batch, d *discovery, caller func(service string) caller) (calls []call, forgotten int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	take := func(s *stranger) {
		s.vendor, s.caller = d.names.discover(s.name.Value()), caller(s.service.Value())
		calls = append(calls, s.call)
		b.addEvidence(&s.call)
	}
	for i := range b.orders {
		if id := b.orders[i].trace; !id.IsEmpty() {
			r := m.keep(now, id)
			for s := range r.unclaimed() {
				take(s)
				m.strangers--
			}
			r.strangers = ofOrder
		}
	}
	for i := range b.strangers {
		s := &b.strangers[i].stranger
		if s.trace.IsEmpty() {
			continue
		}
		r := m.keep(now, s.trace)
		if r.strangers == ofOrder {
			take(s)
			continue
		}
		end, n := &r.strangers, 0
		for ; *end != nil; n++ {
			end = &(*end).next
		}
		if n == maxStrangers {
			forgotten++
			continue
		}
		kept := *s
		*end = &kept
		m.strangers++
	}
	return calls, forgotten
}
