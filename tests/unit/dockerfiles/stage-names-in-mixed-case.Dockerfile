from Alpine:3 as BuildEr
run true
From builder aS Second-Stage_1.x
CoPy --from=BUILDER /a /b
copy --from=second-STAGE_1.x /c /d
