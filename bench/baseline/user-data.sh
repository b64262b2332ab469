#!/bin/bash
# The user-data script that bootagent replaces, as a good engineer writes it today: a shallow fetch of just the release, a
# build, the app in the background, its own health first, then the balancer's, then the launch hook, and ABANDON when
# anything fails. It asks the balancer by itself: `aws elbv2 wait target-in-service` looks every 15 seconds only.
#
# The settings in capitals are what a template of Terraform or CloudFormation fills in.
set -euo pipefail

: "${AWS_DEFAULT_REGION:?}" "${GROUP:?}" "${HOOK:?}" "${PARAMETER:?}" "${REPOSITORY:?}" "${TARGET_GROUP:?}" "${DIRECTORY:?}" "${PORT:?}"
# A name for the metadata service, which on EC2 is always the same.
IMDS=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
BUILD='go build -o bin/hello .'
RUN=bin/hello
HEALTH=/up

log() { printf 'user-data: %s %s\n' "$EPOCHREALTIME" "$1"; }

complete() {
	aws autoscaling complete-lifecycle-action --auto-scaling-group-name "$GROUP" --lifecycle-hook-name "$HOOK" \
		--instance-id "$instance" --lifecycle-action-result "$1"
}

log identify
token=$(curl -fsS --retry 5 --retry-connrefused -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600' "$IMDS/latest/api/token")
instance=$(curl -fsS -H "X-aws-ec2-metadata-token: $token" "$IMDS/latest/meta-data/instance-id")
trap 'log failed; complete ABANDON' ERR

log parameter
release=$(aws ssm get-parameter --name "$PARAMETER" --query Parameter.Value --output text)

log fetch
git init --quiet "$DIRECTORY"
cd "$DIRECTORY"
git fetch --quiet --depth 1 "$REPOSITORY" "$release"
git -c advice.detachedHead=false checkout --quiet FETCH_HEAD

log build
sh -c "$BUILD"

log start
nohup env PORT="$PORT" GREETING=Hello "$RUN" >"$DIRECTORY.log" 2>&1 &

log check
for _ in {1..120}; do
	curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$PORT$HEALTH" 2>/dev/null && break
	sleep 0.25
done
curl -fsS -o /dev/null --max-time 2 "http://127.0.0.1:$PORT$HEALTH"

log register
aws elbv2 register-targets --target-group-arn "$TARGET_GROUP" --targets "Id=$instance,Port=$PORT"

log balancer
state=
for _ in {1..300}; do
	state=$(aws elbv2 describe-target-health --target-group-arn "$TARGET_GROUP" --targets "Id=$instance,Port=$PORT" \
		--query 'TargetHealthDescriptions[0].TargetHealth.State' --output text)
	[ "$state" = healthy ] && break
	sleep 1
done
[ "$state" = healthy ]

log hook
complete CONTINUE
log 'done'
