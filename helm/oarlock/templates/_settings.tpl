{{/* Every role's settings file, as oarlock.cluster.boot.process reads it. */}}
{{- define "oarlock.settings" -}}
prepare.py: |
  {{- .Files.Get "files/prepare.py" | nindent 2 }}
store.json: |
  {{- include "oarlock.storeSettings" . | nindent 2 }}
apiserver.json: |
  {{- include "oarlock.apiserverSettings" . | nindent 2 }}
{{- $scheduler := dict "root" . "factory" "oarlock.actors.scheduler.component:create" "lease" "kube-scheduler" }}
scheduler.json: |
  {{- include "oarlock.componentSettings" (merge (dict "settings" dict) $scheduler) | nindent 2 }}
{{- $factory := "oarlock.actors.controllers.component:create" }}
{{- $controllers := dict "root" . "factory" $factory "lease" "kube-controller-manager" }}
{{- $own := dict "ca_pem" "$(CA_PEM)" "token_key_file" "/tokens/service-accounts.key" }}
controllers.json: |
  {{- include "oarlock.componentSettings" (merge (dict "settings" $own) $controllers) | nindent 2 }}
{{- end -}}

{{- define "oarlock.storeSettings" -}}
{{- $members := dict -}}
{{- range $index := until (int .Values.store.replicas) -}}
{{- $name := printf "%s-store-%d" (include "oarlock.fullname" $) $index -}}
{{- $host := include "oarlock.storeHost" (dict "root" $ "index" $index) -}}
{{- $_ := set $members $name (list $host 7001) -}}
{{- end -}}
{{- $tls := include "oarlock.tls" . | fromJson -}}
{{- $settings := dict "name" "$(POD_NAME)" "cluster_id" (include "oarlock.fullname" .) "members" $members -}}
{{- $settings = merge $settings (dict "host" "0.0.0.0" "port" 7000 "data_dir" "/data/store" "tls" $tls) -}}
{{ merge $settings (dict "metrics" (include "oarlock.metrics" . | fromJson)) | toJson }}
{{- end -}}

{{- define "oarlock.apiserverSettings" -}}
{{- $store := list -}}
{{- range $index := until (int .Values.store.replicas) -}}
{{- $store = append $store (printf "%s:7000" (include "oarlock.storeHost" (dict "root" $ "index" $index))) -}}
{{- end -}}
{{- $tls := include "oarlock.tls" . | fromJson -}}
{{- $settings := dict "name" "$(POD_NAME)" "host" "0.0.0.0" "port" 6443 "store" $store "tls" $tls "client_tls" $tls -}}
{{- $settings = merge $settings (dict "service_cidr" .Values.serviceCidr "advertise" (list "$(POD_IP)" 6443)) -}}
{{- $settings = merge $settings (dict "token_file" "/tokens/tokens.csv") -}}
{{- $settings = merge $settings (dict "service_account_key" "/tokens/service-accounts.key") -}}
{{ merge $settings (dict "metrics" (include "oarlock.metrics" . | fromJson)) | toJson }}
{{- end -}}

{{- define "oarlock.componentSettings" -}}
{{- $client := merge (dict "server" (include "oarlock.server" .root)) (include "oarlock.tls" .root | fromJson) -}}
{{- $settings := dict "name" "$(POD_NAME)" "factory" .factory "lease" .lease "client" $client -}}
{{- $settings = merge $settings (dict "lease_ttl_ms" .root.Values.leaseTtlMs "settings" .settings) -}}
{{ merge $settings (dict "metrics" (include "oarlock.metrics" .root | fromJson)) | toJson }}
{{- end -}}
