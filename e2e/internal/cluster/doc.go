// Package cluster runs a real Kubernetes on one Linux machine, without a registry,
// a container engine or a virtual machine: every host of it is a set of Linux
// namespaces.
//
//	                     bridge br0 (namespace NAME-sw)
//	   +-------------+-------------+-------------+-------------+
//	   |             |             |             |             |
//	NAME-cp       NAME-n1       NAME-n2       NAME-n3     NAME-client
//	10.89.0.10    10.89.0.11    10.89.0.12    10.89.0.13  10.89.0.100
//	fd89::10      fd89::11      fd89::12      fd89::13    fd89::100
//
// The control plane (etcd, kube-apiserver with RBAC, kube-controller-manager,
// kube-scheduler) runs in NAME-cp. Each node has its own network, process, mount,
// host name, IPC and cgroup namespaces with containerd, kubelet and kube-proxy in
// them; pods are on 10.244.N.0/24 and fd44:N::/64 (CNI bridge), Services on
// 10.96.0.0/16 and fd96::/112. The client is a machine on the same LAN that knows
// nothing of the cluster: it has no route beyond the LAN. Another one, NAME-routed
// (10.90.0.100, fd90::100), is behind NAME-router (10.89.0.90, fd89::90) and a link
// with a smaller MTU. On a machine without IPv6 everything is IPv4 only.
//
// The namespace of the machine itself gets no interface, address, rule or route,
// and Stop leaves nothing behind but the cache of built programs.
package cluster
