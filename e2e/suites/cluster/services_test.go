package cluster

// caseServices are the Services of single cases, beside those of Echo, and the pods
// that only they need: in front of Echo's pods "all" is a member, or none is, or the
// one pod that is moved from node to node.
const caseServices = `
apiVersion: v1
kind: Service
metadata: {name: empty, namespace: e2e}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: none}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: nodeport, namespace: e2e}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {all: member}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30080}
  - {name: udp, port: 81, targetPort: 8081, nodePort: 30081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: foreign, namespace: e2e}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {all: member}
  ports:
  - {name: http, port: 80, targetPort: 8080, nodePort: 30090}
  - {name: udp, port: 81, targetPort: 8081, nodePort: 30091, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: ranges, namespace: e2e}
spec:
  type: LoadBalancer
  loadBalancerSourceRanges: [10.89.0.100/32, "fd89::100/128"]
  ipFamilyPolicy: PreferDualStack
  selector: {all: member}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: affine, namespace: e2e}
spec:
  sessionAffinity: ClientIP
  ipFamilyPolicy: PreferDualStack
  selector: {all: member}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: local, namespace: e2e}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  ipFamilyPolicy: PreferDualStack
  selector: {app: movable}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: internal, namespace: e2e}
spec:
  internalTrafficPolicy: Local
  ipFamilyPolicy: PreferDualStack
  selector: {app: movable}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 81, targetPort: 8081, protocol: UDP}
---
apiVersion: v1
kind: Service
metadata: {name: proxied, namespace: e2e}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {all: member}
  ports:
  - {name: https, port: 443, targetPort: 8082}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: movable, namespace: e2e}
spec:
  selector: {matchLabels: {app: movable}}
  template:
    metadata: {labels: {app: movable}}
    spec:
      nodeSelector: {kubernetes.io/hostname: n1}
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: kube-vrrp-vip-echo:dev
        imagePullPolicy: Never
        env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: hostport, namespace: e2e}
spec:
  selector: {matchLabels: {app: hostport}}
  template:
    metadata: {labels: {app: hostport}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: kube-vrrp-vip-echo:dev
        imagePullPolicy: Never
        ports: [{containerPort: 8080, hostPort: 9443}]
        env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
`
