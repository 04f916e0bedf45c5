// Copyright The Pull Secrets for Knative Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/yaml"
)

// dice makes choices, first from bytes and then from a generator that they seed.
type dice struct {
	data []byte
	*rand.Rand
}

func newDice(data []byte) *dice {
	h := fnv.New64a()
	h.Write(data)
	d := &dice{data: data}
	d.Rand = rand.New(rand.NewPCG(h.Sum64(), 1)) //nolint:gosec // Random values for tests.
	return d
}

func (d *dice) next(n int) int {
	if len(d.data) > 0 {
		b := int(d.data[0])
		d.data = d.data[1:]
		return b % n
	}
	return d.IntN(n)
}

func pick[T any](d *dice, from []T) T { return from[d.next(len(from))] }

// fragment is merged into a template: it is a field of the Pod or of its first container.
var podFragments, containerFragments = fragments(`
- {timeoutSeconds: 100}
- {containerConcurrency: 5}
- {idleTimeoutSeconds: 20, timeoutSeconds: 200}
- {serviceAccountName: robot}
- {enableServiceLinks: true}
- {automountServiceAccountToken: false}
- {nodeSelector: {disk: ssd}}
- {tolerations: [{key: a, operator: Exists, effect: NoSchedule}]}
- {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]}}}}
- {securityContext: {runAsUser: 1000, fsGroup: 5}}
- {runtimeClassName: gvisor}
- {priorityClassName: high}
- {schedulerName: other}
- {dnsPolicy: ClusterFirst}
- {hostAliases: [{ip: 10.0.0.1, hostnames: [a]}]}
- {topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}
- {imagePullSecrets: [{name: own}]}
- {initContainers: [{image: ghcr.io/acme/init:v1}]}
- {initContainers: [{name: first, image: ghcr.io/acme/init:v1, args: [a], env: [{name: I}]}]}
- {volumes: [{name: t, emptyDir: {}}, {name: c, configMap: {name: cm, items: [{key: a, path: b}]}}, {name: p, projected: {sources: [{secret: {name: s}}]}}]}
`), fragments(`
- {env: [{name: A, value: ""}, {name: B, value: b}]}
- {env: [{name: S, valueFrom: {secretKeyRef: {name: s, key: k, optional: false}}}, {name: C, valueFrom: {configMapKeyRef: {name: c, key: k}}}]}
- {envFrom: [{prefix: P_, secretRef: {name: s}}, {configMapRef: {name: c, optional: true}}]}
- {ports: [{containerPort: 8080}]}
- {ports: [{name: h2c, containerPort: 80, protocol: TCP}]}
- {livenessProbe: {httpGet: {path: /}, initialDelaySeconds: 0}}
- {livenessProbe: {httpGet: {path: /, port: 0, httpHeaders: [{name: a, value: b}]}, periodSeconds: 5}}
- {readinessProbe: {httpGet: {path: /ready}, periodSeconds: 0}}
- {readinessProbe: {exec: {command: [true-ish]}, periodSeconds: 10, timeoutSeconds: 0}}
- {readinessProbe: {grpc: {}}}
- {startupProbe: {tcpSocket: {port: 0}, failureThreshold: 3}}
- {resources: {requests: {cpu: 1000m, memory: 1024Mi}, limits: {cpu: 2}}}
- {resources: {requests: {cpu: 0.5, memory: 1e9, ephemeral-storage: 128974848}}}
- {resources: {}}
- {securityContext: {runAsNonRoot: false, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
- {securityContext: {runAsUser: 0, readOnlyRootFilesystem: true, seccompProfile: {type: RuntimeDefault}}}
- {command: [run], args: []}
- {args: [a, b, ""], workingDir: /w}
- {imagePullPolicy: Always, terminationMessagePath: /m, terminationMessagePolicy: File}
- {name: ""}
- {name: app}
`)

func fragments(text string) []map[string]any {
	var all []map[string]any
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		panic(err)
	}
	return all
}

func clone(m map[string]any) map[string]any {
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		panic(err)
	}
	return c
}

// newTemplate returns a template as a user writes it.
func (d *dice) newTemplate() map[string]any {
	container := map[string]any{"image": "ghcr.io/acme/app:v1"}
	spec := map[string]any{"containers": []any{container}}
	for range d.next(4) {
		maps.Copy(container, clone(pick(d, containerFragments)))
	}
	for range d.next(4) {
		maps.Copy(spec, clone(pick(d, podFragments)))
	}
	if volumes, ok := spec["volumes"].([]any); ok {
		var mounts []any
		for _, v := range volumes {
			name := v.(map[string]any)["name"]
			mounts = append(mounts, map[string]any{"name": name, "mountPath": fmt.Sprint("/", name), "readOnly": d.next(2) == 0 && name != "t"})
		}
		container["volumeMounts"] = mounts
	}
	if d.next(5) == 0 {
		container["ports"] = []any{map[string]any{"containerPort": 8080}}
		spec["containers"] = []any{container, map[string]any{"image": "ghcr.io/acme/sidecar:v1", "env": []any{map[string]any{"name": "X", "value": ""}}}}
	}
	metadata := map[string]any{}
	switch d.next(8) {
	case 0:
		metadata["name"] = "app-one"
	case 1:
		metadata["annotations"] = map[string]any{"autoscaling.knative.dev/min-scale": "1", "a": ""}
		metadata["labels"] = map[string]any{"l": "", "m": "n"}
	}
	return clone(map[string]any{"metadata": metadata, "spec": spec})
}

// place is an object of a template with the Go type that Knative gives it, or a list with
// the type of its items.
type place struct {
	object map[string]any
	key    string // of a list within the object
	t      reflect.Type
}

func (p place) list() []any { l, _ := p.object[p.key].([]any); return l }

// placesOf returns the places of a template by Knative's types.
func placesOf(value map[string]any, t reflect.Type) (objects, lists []place) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil, nil
	}
	objects = append(objects, place{object: value, t: t})
	fields := fieldsOf(t)
	for _, key := range slices.Sorted(maps.Keys(value)) {
		ft, ok := fields[key]
		if !ok {
			continue
		}
		switch v := value[key].(type) {
		case map[string]any:
			o, l := placesOf(v, ft)
			objects, lists = append(objects, o...), append(lists, l...)
		case []any:
			lists = append(lists, place{value, key, ft.Elem()})
			for _, item := range v {
				if m, ok := item.(map[string]any); ok {
					o, l := placesOf(m, ft.Elem())
					objects, lists = append(objects, o...), append(lists, l...)
				}
			}
		}
	}
	return objects, lists
}

// fieldsOf returns the fields of a struct by their JSON names.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for field := range t.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			maps.Copy(fields, fieldsOf(field.Type))
		case name != "" && name != "-":
			fields[name] = field.Type
		}
	}
	return fields
}

// value returns a value of a type, mostly a zero or a small one.
func (d *dice) value(t reflect.Type, depth int) any {
	if d.next(8) == 0 {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return pick(d, []any{"1", "1000m", "0", "1Gi", "1024Mi", 1, "0.5", "500m", "1e3"})
	case reflect.TypeFor[intstr.IntOrString]():
		return pick(d, []any{0, "", 8080, "http"})
	}
	switch t.Kind() {
	case reflect.String:
		return pick(d, []any{"", "", "a", "ghcr.io/acme/app:v2", "/x"})
	case reflect.Bool:
		return d.next(2) == 0
	case reflect.Int32, reflect.Int64:
		return pick(d, []any{0, 0, 1, 3, 300})
	case reflect.Slice:
		if depth == 0 || d.next(2) == 0 {
			return []any{}
		}
		return []any{d.value(t.Elem(), depth-1)}
	case reflect.Map:
		if depth == 0 || d.next(2) == 0 {
			return map[string]any{}
		}
		return map[string]any{pick(d, []string{"cpu", "memory", "a"}): d.value(t.Elem(), depth-1)}
	case reflect.Struct:
		object := map[string]any{}
		fields := fieldsOf(t)
		if names := slices.Sorted(maps.Keys(fields)); depth > 0 && len(names) > 0 {
			for range d.next(3) {
				name := pick(d, names)
				object[name] = d.value(fields[name], depth-1)
			}
		}
		return object
	}
	return nil
}

// edit changes a template in one place, or only in a way that Knative ignores. It reports
// whether it used a field that Knative's types do not have.
func (d *dice) edit(template map[string]any) (unknown bool) {
	objects, lists := placesOf(template, reflect.TypeFor[servingv1.RevisionTemplateSpec]())
	o := pick(d, objects)
	fields := fieldsOf(o.t)
	names := slices.Sorted(maps.Keys(fields))
	if len(names) == 0 {
		return false
	}
	switch d.next(12) {
	case 0, 1, 2, 3: // a zero value in place of an absent one
		if name := pick(d, names); o.object[name] == nil {
			o.object[name] = zero(fields[name])
		}
	case 4: // another value
		name := pick(d, names)
		o.object[name] = d.value(fields[name], 2)
	case 5, 6: // a field is removed
		if keys := slices.Sorted(maps.Keys(o.object)); len(keys) > 0 {
			delete(o.object, pick(d, keys))
		}
	case 7, 8: // a list grows, shrinks or is reversed
		if len(lists) == 0 {
			return false
		}
		l := pick(d, lists)
		items := slices.Clone(l.list())
		switch i := d.next(3); {
		case i == 0 && len(items) > 0:
			items = items[:len(items)-1]
		case i == 1:
			slices.Reverse(items)
		default:
			items = append(items, d.value(l.t, 2))
		}
		l.object[l.key] = items
	case 9: // another name
		metadata, _ := template["metadata"].(map[string]any)
		if metadata == nil {
			metadata = map[string]any{}
			template["metadata"] = metadata
		}
		metadata["name"] = pick(d, []string{"", "app-one", "app-two"})
	case 10: // an unknown field
		if d.next(4) == 0 {
			o.object["tomorrow"] = pick(d, []any{"", 0, 1, nil, map[string]any{"a": true}})
			return true
		}
	}
	return false
}

func zero(t reflect.Type) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[resource.Quantity](), reflect.TypeFor[intstr.IntOrString]():
		return 0
	}
	switch t.Kind() {
	case reflect.String:
		return ""
	case reflect.Bool:
		return false
	case reflect.Int32, reflect.Int64:
		return 0
	case reflect.Slice:
		return []any{}
	case reflect.Map, reflect.Struct:
		return map[string]any{}
	}
	return nil
}
