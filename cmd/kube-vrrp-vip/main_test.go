package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	env := map[string]string{"POD_NAME": "pod", "POD_NAMESPACE": "vip"}
	for _, tt := range []struct {
		name string
		args []string
		env  map[string]string
		code int
		out  string
		err  string
	}{
		{name: "version", args: []string{"version"}, out: "dev\n"},
		{name: "help", args: []string{"-h"}, env: env, out: "-services-configmap"},
		{name: "wrong value", args: []string{"--vrid=300"}, env: env, code: 2, err: "--vrid=300: must be 1 to 255"},
		{name: "unknown flag", args: []string{"--no-such-flag"}, env: env, code: 2, err: "no-such-flag"},
		{name: "no environment", code: 2, err: "POD_NAME is not set"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code := run(tt.args, func(k string) string { return tt.env[k] }, &out, &errOut)
			if code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errOut.String(), tt.err) {
				t.Errorf("code %d, out %q, err %q; want %d, %q, %q", code, out.String(), errOut.String(), tt.code, tt.out, tt.err)
			}
		})
	}
}
