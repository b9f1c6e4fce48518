{{/*
Two operators must not reconcile the same objects, nor share a Lease. The Roles that let an
operator work have the same names in every release, so that they are claims:
  ClusterRole llmcloud-operator                  the whole cluster
  Role        llmcloud-operator in a namespace   that namespace
  Role        llmcloud-operator-home             the Lease and the routes of its own namespace
*/}}

{{/* (list $ OBJECT): "release X in namespace Y" if the object is another release's; else empty. */}}
{{- define "llmcloud.otherOwner" -}}
{{- $root := first . -}}
{{- with last . -}}
{{- $annotations := .metadata.annotations | default dict -}}
{{- $release := get $annotations "meta.helm.sh/release-name" -}}
{{- $namespace := get $annotations "meta.helm.sh/release-namespace" -}}
{{- if not $release -}}
something that Helm did not install
{{- else if or (ne $release $root.Release.Name) (ne $namespace $root.Release.Namespace) -}}
release {{ $release }} in namespace {{ $namespace }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "llmcloud.refuseOverlap" -}}
{{- $rbac := "rbac.authorization.k8s.io/v1" -}}
{{- $watched := .Values.watchNamespace -}}
{{- with include "llmcloud.otherOwner" (list . (lookup $rbac "Role" .Release.Namespace "llmcloud-operator-home")) -}}
{{- fail (printf "namespace %s already holds an llmcloud operator, of %s: install this release in another namespace (helm install -n), or upgrade that one." $.Release.Namespace .) -}}
{{- end -}}
{{- with include "llmcloud.otherOwner" (list . (lookup $rbac "ClusterRole" "" "llmcloud-operator")) -}}
{{- fail (printf "llmcloud reconciles all namespaces already, by %s: upgrade or uninstall that one, or give both releases a watchNamespace of their own." .) -}}
{{- end -}}
{{- if $watched -}}
{{- with include "llmcloud.otherOwner" (list . (lookup $rbac "Role" $watched "llmcloud-operator")) -}}
{{- fail (printf "namespace %s is already watched by %s: set watchNamespace to another namespace, or uninstall that one." $watched .) -}}
{{- end -}}
{{- else -}}
{{- range (lookup $rbac "Role" "" "").items -}}
{{- if eq .metadata.name "llmcloud-operator" -}}
{{- $namespace := .metadata.namespace -}}
{{- with include "llmcloud.otherOwner" (list $ .) -}}
{{- fail (printf "namespace %s is already watched by %s, and this release would reconcile all namespaces: set watchNamespace to another namespace, or uninstall that one." $namespace .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" for a CRD (by name) that is absent from the cluster or that this release owns. */}}
{{- define "llmcloud.ownsCrd" -}}
{{- $root := first . -}}
{{- $existing := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" (last .) -}}
{{- if not (include "llmcloud.otherOwner" (list $root $existing)) -}}true{{- end -}}
{{- end -}}
