package controller

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"kube-vrrp-vip/pkg/desired"
	"kube-vrrp-vip/pkg/vrrp"
)

func testAlarm() desired.AlarmChange {
	return desired.AlarmChange{
		RouterKey: desired.RouterKey{Interface: "eth0", Family: vrrp.IPv4, VRID: 50},
		Alarm:     desired.Alarm{Reason: string(vrrp.AlarmIncompatiblePeer), Source: netip.MustParseAddr("10.4.0.12"), Detail: "version"},
		On:        true,
		VIPs:      []netip.Addr{netip.MustParseAddr("10.4.0.50"), netip.MustParseAddr("10.4.0.51")},
	}
}

// TestAlarmAdvice: every reason has a sentence of its own.
func TestAlarmAdvice(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join("..", "vrrp", "alarm.go"))
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`\sAlarm\w+ +AlarmReason = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	if len(reasons) == 0 || len(reasons) != len(alarmAdvice) {
		t.Errorf("%d reasons, %d sentences", len(reasons), len(alarmAdvice))
	}
	for _, match := range reasons {
		if alarmAdvice[vrrp.AlarmReason(match[1])] == "" {
			t.Errorf("nothing about %s", match[1])
		}
	}
}

func TestAlarmEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, testOptions(), testCluster())
		alarm := testAlarm()
		r.Alarm(alarm)
		r.settle()
		alarm.On = false
		r.Alarm(alarm)
		alarm.Reason, alarm.Source, alarm.VIPs = "unheardOf", netip.Addr{}, nil
		alarm.On, alarm.Detail = true, ""
		r.Alarm(alarm)
		// What came last before the end is still written.
		r.stop()

		const (
			began = "worker-a at 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): incompatiblePeer by 10.4.0.12 (version): its advertisements must be discarded, so that both can be Master: give it the same settings, or another VRID"
			ended = "worker-a at 10.4.0.50, 10.4.0.51 on eth0 (VRID 50): incompatiblePeer by 10.4.0.12 has ended"
		)
		want := []string{
			"Warning Alarm ConfigMap/vip-configmap: " + began,
			"Warning Alarm Service/echo: " + began,
			"Normal AlarmEnded ConfigMap/vip-configmap: " + ended,
			"Normal AlarmEnded Service/echo: " + ended,
			"Warning Alarm ConfigMap/vip-configmap: worker-a at no VIP on eth0 (VRID 50): unheardOf",
		}
		if diff := cmp.Diff(want, r.events()); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestAlarmEventIsShort: an Event of more than 1024 bytes is not accepted.
func TestAlarmEventIsShort(t *testing.T) {
	t.Parallel()
	alarm := testAlarm()
	alarm.Detail = strings.Repeat("é", 1000)
	alarm.Source = netip.MustParseAddr("2001:db8:1111:2222:3333:4444:5555:6666")
	alarm.VIPs = nil
	for i := range 90 {
		a := alarm.Source.As16()
		a[15] = byte(i)
		alarm.VIPs = append(alarm.VIPs, netip.AddrFrom16(a))
	}
	for reason := range alarmAdvice {
		alarm.Reason = string(reason)
		node := strings.Repeat("n", 63)
		if _, _, message := alarmEvent(node, alarm); len(message) > 1024 {
			t.Errorf("%d bytes: %s", len(message), message)
		}
	}
}
