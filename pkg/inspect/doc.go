// Package inspect looks at what other programs have on this node that the datapath
// depends on: whether kube-proxy translates ClusterIPs, and rules that keep traffic
// of VIPs from arriving. It changes nothing.
package inspect
