{{- define "oarlock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "oarlock.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "oarlock.selector" . }}
{{- end -}}

{{- define "oarlock.selector" -}}
app.kubernetes.io/name: oarlock
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "oarlock.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{/* Where people and components reach the API servers. */}}
{{- define "oarlock.server" -}}
https://{{ include "oarlock.fullname" . }}.{{ .Release.Namespace }}.svc:6443
{{- end -}}

{{/* The DNS name of store replica .index. */}}
{{- define "oarlock.storeHost" -}}
{{- $name := include "oarlock.fullname" .root -}}
{{ printf "%s-store-%d.%s-store.%s.svc" $name .index $name .root.Release.Namespace }}
{{- end -}}

{{/* The files of a process' certificate, as its settings name them. */}}
{{- define "oarlock.tls" -}}
{{ dict "ca_file" "/identity/ca.crt" "cert_file" "/identity/tls.crt" "key_file" "/identity/tls.key" | toJson }}
{{- end -}}

{{- define "oarlock.metrics" -}}
{{ merge (dict "host" "0.0.0.0" "port" 9443) (include "oarlock.tls" . | fromJson) | toJson }}
{{- end -}}

{{/*
A pod that prepares its certificate and settings and then runs one role.
root, part (its name), role, resources, user, groups, hosts, ports (name to number), readiness, and optionally more
volumes, mounts and liveness.
*/}}
{{- define "oarlock.pod" -}}
metadata:
  labels:
    {{- include "oarlock.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
  annotations:
    checksum/settings: {{ include "oarlock.settings" .root | sha256sum }}
    prometheus.io/scrape: "true"
    prometheus.io/scheme: https
    prometheus.io/port: "9443"
spec:
  serviceAccountName: {{ include "oarlock.fullname" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 30
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "oarlock.selector" .root | nindent 16 }}
                app.kubernetes.io/component: {{ .part }}
  initContainers:
    - name: prepare
      image: {{ include "oarlock.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [python, /settings/prepare.py]
      env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: USER_NAME, value: {{ .user | quote }}}
        - {name: GROUPS, value: {{ .groups | quote }}}
        - {name: HOSTS, value: {{ .hosts | quote }}}
        - {name: SETTINGS, value: /settings/{{ .part }}.json}
      securityContext:
        {{- include "oarlock.confined" . | nindent 8 }}
      resources:
        requests: {cpu: 50m, memory: 64Mi}
        limits: {memory: 256Mi}
      volumeMounts:
        - {name: authority, mountPath: /authority, readOnly: true}
        - {name: settings, mountPath: /settings, readOnly: true}
        - {name: identity, mountPath: /identity}
  containers:
    - name: {{ .part }}
      image: {{ include "oarlock.image" .root }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [python, -m, oarlock.cluster.boot.process, {{ .role }}, /identity/settings.json]
      ports:
        {{- range $name, $number := .ports }}
        - {name: {{ $name }}, containerPort: {{ $number }}}
        {{- end }}
        - {name: metrics, containerPort: 9443}
      readinessProbe:
        {{- toYaml .readiness | nindent 8 }}
      {{- with .liveness }}
      livenessProbe:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "oarlock.confined" . | nindent 8 }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      volumeMounts:
        - {name: identity, mountPath: /identity, readOnly: true}
        {{- with .mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: authority
      secret: {secretName: {{ include "oarlock.fullname" .root }}-authority, defaultMode: 288}
    - name: settings
      configMap: {name: {{ include "oarlock.fullname" .root }}-settings}
    - name: identity
      emptyDir: {medium: Memory, sizeLimit: 1Mi}
    {{- with .volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- define "oarlock.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A Deployment of a scheduler or of controllers: name, user, factory, lease, values of the part. */}}
{{- define "oarlock.shell" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "oarlock.fullname" .root }}-{{ .part }}
  labels:
    {{- include "oarlock.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      {{- include "oarlock.selector" .root | nindent 6 }}
      app.kubernetes.io/component: {{ .part }}
  template:
    {{- $ready := dict "tcpSocket" (dict "port" "metrics") "periodSeconds" 5 }}
    {{- $pod := dict "root" .root "part" .part "role" "shell" "resources" .values.resources "user" .user }}
    {{- $pod = merge $pod (dict "groups" "system:masters" "hosts" "localhost,$(POD_IP)" "readiness" $ready) }}
    {{- if eq .part "controllers" }}
    {{- $key := list (dict "key" "service-accounts.key" "path" "service-accounts.key") }}
    {{- $admin := printf "%s-admin" (include "oarlock.fullname" .root) }}
    {{- $volume := dict "name" "tokens" "secret" (dict "secretName" $admin "defaultMode" 288 "items" $key) }}
    {{- $mount := dict "name" "tokens" "mountPath" "/tokens" "readOnly" true }}
    {{- $pod = merge $pod (dict "mounts" (list $mount) "volumes" (list $volume)) }}
    {{- end }}
    {{- include "oarlock.pod" $pod | nindent 4 }}
{{- end -}}
